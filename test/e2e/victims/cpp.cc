// C++ names, exceptions passing through, a static destructor that closes one of the sockets before the report.
#include "test/e2e/victims/victim.h"

#include <stdexcept>
#include <string>
#include <vector>

namespace shop {

template <typename T> class Basket {
public:
    explicit Basket(int listener) : listener_(listener) {}
    __attribute__((noinline)) void take(const std::string &)
    {
        fds_.push_back(accept(listener_, nullptr, nullptr));
        MUST(fds_.back() >= 0);
    }
    __attribute__((noinline)) void drain()
    {
        for (int fd : fds_)
            on_readable(fd);
    }
    std::vector<int> fds_;

private:
    int listener_;
};

struct Closer {
    int fd = -1;
    ~Closer()
    {
        if (fd >= 0) {
            close(fd);
            end_here();
        }
    }
};

} // namespace shop

static shop::Closer closer;

__attribute__((noinline)) static void thrower(int fd)
{
    char byte;
    if (recv(fd, &byte, 1, MSG_DONTWAIT) < 0)
        throw std::runtime_error("nothing to read");
}

int main(int argc, char **)
{
    victim_begin();
    int listener = listen_on(AF_INET);
    shop::Basket<long> basket(listener);
    ask("connect %d 3 4", port_of(listener));
    for (int i = 0; i < 3; i++)
        basket.take("apple");
    try {
        thrower(basket.fds_[0]);
        say("no exception\n");
    } catch (const std::exception &error) {
        say("caught: %s\n", error.what());
    }
    ask("fin");
    basket.drain();
    if (argc > 1) {
        closer.fd = basket.fds_[0];
        exit(0);
    }
    end_here();
    return 0;
}
