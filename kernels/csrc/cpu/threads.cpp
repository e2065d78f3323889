#include "threads.h"

#include <unistd.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

namespace ovk {
namespace {

class Threads {
 public:
  void run(int64_t count, const Work& work) noexcept {
    const std::unique_lock<std::mutex> alone(one_call_, std::try_to_lock);
    if (!alone.owns_lock() || getpid() != owner_) return work();
    start(count - 1);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      num_wanted_ = count - 1;
    }
    wanted_.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    num_wanted_ = 0;  // who has not come by now need not come
    done_.wait(lock, [this] { return num_working_ == 0; });
  }

 private:
  void start(int64_t count) noexcept {
    try {
      for (; num_started_ < count; ++num_started_) std::thread(&Threads::wait_for_work, this).detach();
    } catch (const std::exception&) {  // no more threads, or no memory for one, to be had
    }
  }

  [[noreturn]] void wait_for_work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wanted_.wait(lock, [this] { return num_wanted_ > 0; });
      --num_wanted_;
      ++num_working_;
      const Work& work = *work_;
      lock.unlock();
      work();
      lock.lock();
      if (--num_working_ == 0) done_.notify_one();
    }
  }

  const pid_t owner_ = getpid();  // a fork takes no threads with it
  std::mutex one_call_;
  int64_t num_started_ = 0;  // of one_call_

  std::mutex mutex_;  // of all that follows
  std::condition_variable wanted_, done_;
  const Work* work_ = nullptr;
  int64_t num_wanted_ = 0, num_working_ = 0;
};

}  // namespace

void run_on_threads(int64_t count, const Work& work) noexcept {
  if (count <= 1) return work();
  alignas(Threads) static char memory[sizeof(Threads)];  // a heap may have none left
  static auto* threads = new (memory) Threads;           // never destroyed: its threads wait until the process ends
  threads->run(count, work);
}

}  // namespace ovk
