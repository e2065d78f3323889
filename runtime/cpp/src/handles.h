// Handles as numbers: what is closed, null or of another kind is not found, and no address is followed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace ovrun {

struct Target;

class Handles {
public:
    std::uintptr_t add(std::shared_ptr<Target> target);
    std::shared_ptr<Target> find(const void* handle) const;
    std::shared_ptr<Target> remove(const void* handle);  // null for all but the first
    void remove(const Target& target);
    std::vector<std::shared_ptr<Target>> all() const;

private:
    mutable std::mutex mutex_;
    std::map<std::uintptr_t, std::shared_ptr<Target>> targets_;
    std::uintptr_t next_ = 0x0ff1ce01;  // odd, so that no address of anything is one by chance
};

// Never destroyed: threads may still call while the process ends.
Handles& handles();

}  // namespace ovrun
