#include "packages.h"

#include "last_error.h"

namespace ovrun {
namespace {

namespace fs = std::filesystem;

// Folders that pip and Debian use below a home.
std::vector<fs::path> package_folders(const fs::path& home, const std::string& version) {
    const auto python = "python" + version;
    std::vector<fs::path> found;
    std::error_code error;
    for (const char* base : {"lib", "lib64", "local/lib"}) {
        for (const auto& folder : {fs::path(python) / "site-packages", fs::path(python) / "dist-packages",
                                   fs::path("python3") / "dist-packages"}) {
            if (fs::is_directory(home / base / folder, error)) found.push_back(home / base / folder);
        }
    }
    return found;
}

// The package itself, or a .pth file, which may lead to it: that of an editable installation does.
bool may_lead_to_package(const fs::path& folder) {
    std::error_code error;
    if (fs::exists(folder / "ovrun", error)) return true;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        const auto name = entry.path().filename().string();
        if (entry.path().extension() == ".pth" && name != "distutils-precedence.pth") return true;
    }
    return false;
}

}  // namespace

ov_status check_package(const Environment& environment) {
    auto folders = package_folders(environment.home, environment.version);
    if (venv_setting(environment.home, "include-system-site-packages") == "true") {
        const auto base = fs::path(venv_setting(environment.home, "home")).parent_path();
        for (const auto& folder : package_folders(base, environment.version)) folders.push_back(folder);
    }
    if (!environment.site_packages.empty() || folders.empty()) return OV_OK;
    std::string looked;
    for (const auto& folder : folders) {
        if (may_lead_to_package(folder)) return OV_OK;
        looked += (looked.empty() ? "" : ", ") + folder.string();
    }
    return fail(OV_MISSING_DEPENDENCY,
                "the Python " + environment.executable.string() + " (" + environment.origin +
                    ") can't import ovrun: it is not in " + looked,
                "pip install 'ovexport[cpu]' there");
}

}  // namespace ovrun
