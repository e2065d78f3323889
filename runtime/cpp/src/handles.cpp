#include "handles.h"

#include <utility>

namespace ovrun {

std::uintptr_t Handles::add(std::shared_ptr<Target> target) {
    const std::lock_guard lock(mutex_);
    next_ += 2;
    targets_.emplace(next_, std::move(target));
    return next_;
}

std::shared_ptr<Target> Handles::find(const void* handle) const {
    const std::lock_guard lock(mutex_);
    const auto found = targets_.find(reinterpret_cast<std::uintptr_t>(handle));
    return found == targets_.end() ? nullptr : found->second;
}

std::shared_ptr<Target> Handles::remove(const void* handle) {
    const std::lock_guard lock(mutex_);
    const auto found = targets_.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == targets_.end()) return nullptr;
    auto target = found->second;
    targets_.erase(found);
    return target;
}

void Handles::remove(const Target& target) {
    const std::lock_guard lock(mutex_);
    for (auto at = targets_.begin(); at != targets_.end(); ++at) {
        if (at->second.get() == &target) {
            targets_.erase(at);
            return;
        }
    }
}

std::vector<std::shared_ptr<Target>> Handles::all() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Target>> found;
    for (const auto& [number, target] : targets_) found.push_back(target);
    return found;
}

Handles& handles() {
    static auto* const table = new Handles;
    return *table;
}

}  // namespace ovrun
