#include "environment.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "host_python.h"
#include "last_error.h"

namespace ovrun {
namespace {

namespace fs = std::filesystem;

const char* const kHomeHint =
    "set OVRUN_PYTHON_HOME to the folder of an environment (sys.prefix) with: pip install 'ovexport[cpu]'";

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

bool is_file(const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error);
}

// "3.11" of a folder lib/python3.11; of several the one that has the package, else the newest.
std::string version_of(const fs::path& home) {
    for (const char* key : {"version", "version_info"}) {
        if (const auto found = short_version(venv_setting(home, key)); !found.empty()) return found;
    }
    std::vector<std::pair<std::pair<bool, int>, std::string>> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(home / "lib", error)) {
        const auto name = entry.path().filename().string();
        if (name.rfind("python3.", 0) != 0) continue;
        const bool has_package = fs::exists(entry.path() / "site-packages" / "ovrun", error);
        found.push_back({{has_package, std::atoi(name.c_str() + 8)}, name.substr(6)});
    }
    return found.empty() ? "" : std::max_element(found.begin(), found.end())->second;
}

// bin/python3.11 of the environment; of a system whose packages lie elsewhere, the one that its users run.
fs::path executable_of(const fs::path& home, const std::string& version) {
    for (const auto& folder : {home / "bin", fs::path("/usr/bin"), fs::path("/usr/local/bin")}) {
        for (const auto& name : {"python" + version, std::string("python3"), std::string("python")}) {
            if (folder != home / "bin" && name != "python" + version) continue;
            if (is_file(folder / name)) return folder / name;
        }
    }
    return {};
}

std::optional<Environment> environment_at(const fs::path& home, const std::string& origin) {
    Environment found{origin, home, {}, {}, version_of(home)};
    found.executable = executable_of(home, found.version);
    if (found.version.empty() || !is_file(home / "bin" / found.executable.filename())) {
        fail(OV_MISSING_DEPENDENCY, "there is no Python in " + home.string() + " (" + origin + ")", kHomeHint);
        return std::nullopt;
    }
    std::error_code error;
    const auto packages = home / "lib" / ("python" + found.version) / "site-packages";
    if (fs::exists(packages / "ovrun", error)) found.site_packages = packages;
    return found;
}

// .../lib/python3.11/site-packages/ovrun/cpp/lib/libovrun.so, dist-packages on Debian.
std::optional<Environment> environment_around(const fs::path& folder) {
    const auto package = folder.parent_path().parent_path(), packages = package.parent_path();
    const auto python = packages.parent_path().filename().string();
    const auto name = packages.filename();
    if (package.filename() != "ovrun" || (name != "site-packages" && name != "dist-packages")) return std::nullopt;
    if (python.rfind("python3", 0) != 0) return std::nullopt;
    Environment found{"the library lies in it", packages.parent_path().parent_path().parent_path(), {}, packages, ""};
    const auto version = short_version(python.substr(6));
    found.version = version.size() > 1 ? version : version_of(found.home);  // Debian's own packages: lib/python3
    found.executable = executable_of(found.home, found.version);
    if (found.executable.empty()) return std::nullopt;
    return found;
}

// Written beside a library that lies in no environment: in a checkout, or in the build folder of an application.
std::string built_home() {
    std::ifstream file(own_folder() / "python_home.txt");
    std::string home;
    std::getline(file, home);
    return home;
}

}  // namespace

fs::path own_folder() {
    Dl_info info{};
    if (!dladdr(reinterpret_cast<void*>(&own_folder), &info) || !info.dli_fname) return {};
    std::error_code error;
    return fs::weakly_canonical(info.dli_fname, error).parent_path();
}

// Lines such as "version = 3.11.7".
std::string venv_setting(const fs::path& home, const std::string& key) {
    std::ifstream file(home / "pyvenv.cfg");
    for (std::string line; std::getline(file, line);) {
        const auto equals = line.find('=');
        if (equals == std::string::npos) continue;
        const auto name = line.substr(0, line.find_last_not_of(' ', equals ? equals - 1 : 0) + 1);
        const auto start = line.find_first_not_of(' ', equals + 1);
        if (name == key && start != std::string::npos) return line.substr(start, line.find_last_not_of(" \r") + 1 - start);
    }
    return "";
}

std::optional<Environment> find_environment() {
    if (auto named = variable("OVRUN_PYTHON_HOME"); !named.empty()) return environment_at(named, "OVRUN_PYTHON_HOME");
    if (auto around = environment_around(own_folder())) return around;
    if (const auto built = built_home(); !built.empty()) return environment_at(built, "what ovrun was built for");
    fail(OV_MISSING_DEPENDENCY, "no Python environment is known to ovrun in " + own_folder().string(), kHomeHint);
    return std::nullopt;
}

std::vector<std::string> libpython_files(const Environment& environment) {
    if (auto named = variable("OVRUN_LIBPYTHON"); !named.empty()) return {named};
    std::error_code error;
    std::vector<fs::path> bases{fs::weakly_canonical(environment.executable, error).parent_path().parent_path()};
    if (const auto base = venv_setting(environment.home, "home"); !base.empty()) {
        bases.push_back(fs::path(base).parent_path());
    }
    bases.push_back(environment.home);
    const auto name = "libpython" + environment.version + ".so";
    std::vector<std::string> files;
    for (const auto& base : bases) {
        for (const char* folder : {"lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"}) {
            for (const auto& file : {base / folder / (name + ".1.0"), base / folder / name}) {
                if (is_file(file)) files.push_back(file.string());
            }
        }
    }
    files.push_back(name + ".1.0");
    return files;
}

fs::path find_bridge(const std::string& version, const fs::path& site_packages) {
    auto digits = version;
    digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
    const auto beginning = "ovrun_bridge.cpython-" + digits + "-";
    std::vector<fs::path> folders{own_folder()};
    if (!site_packages.empty()) folders.push_back(site_packages / "ovrun" / "cpp" / "lib");
    std::string looked;
    for (const auto& folder : folders) {
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(folder, error)) {
            if (entry.path().filename().string().rfind(beginning, 0) == 0) return entry.path();
        }
        if (!error) looked += (looked.empty() ? "" : ", ") + folder.string();
    }
    fail(OV_MISSING_DEPENDENCY, "ovrun has nothing for Python " + version + " in " + looked,
         "install the package with that Python: pip install 'ovexport[cpu]'");
    return {};
}

}  // namespace ovrun
