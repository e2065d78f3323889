// Finds the Python environment to start: by files alone, nothing is run.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ovrun {

struct Environment {
    std::string origin;  // why this one, for messages
    std::filesystem::path home, executable;
    std::filesystem::path site_packages;  // empty: not known, Python will see
    std::string version;                  // "3.11"
};

// OVRUN_PYTHON_HOME; else the one that this library lies in; else the one it was built for. Null with the error noted.
std::optional<Environment> find_environment();

// Where libpython of an environment may be, best first: paths that exist, then a name for the loader's own search.
std::vector<std::string> libpython_files(const Environment& environment);

// The bridge for a version of Python: beside this library, else in the package of the environment. Empty, with the error
// noted, where there is none.
std::filesystem::path find_bridge(const std::string& version, const std::filesystem::path& site_packages);

std::filesystem::path own_folder();

// A value of the pyvenv.cfg in `home`; "" where there is none.
std::string venv_setting(const std::filesystem::path& home, const std::string& key);

}  // namespace ovrun
