/* SIGTERM and its friends as the program sees them: what sigaction reports, which handler runs.
 * usage: handlers before|after|ignore|signal|sigset|default|reset|siginfo */
#include "test/e2e/victims/victim.h"

static volatile sig_atomic_t called;

static void on_term(int number)
{
    called = number;
}

static void on_term_info(int number, siginfo_t *info, void *context)
{
    (void)context;
    called = info->si_pid > 0 ? number : -1;
}

static void print_actions(const char *when)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction action;
        memset(&action, 0xA5, sizeof action);
        MUST(sigaction(numbers[i], NULL, &action) == 0);
        const char *word = action.sa_handler == SIG_DFL ? "SIG_DFL" : "handler";
        if (action.sa_handler == SIG_IGN)
            word = "SIG_IGN";
        say("%s: signal %d is %s flags %x mask %d\n", when, numbers[i], word, (unsigned)action.sa_flags,
            sigismember(&action.sa_mask, SIGUSR1));
    }
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* old ways to install a handler are the point */

static void install(const char *mode)
{
    if (strcmp(mode, "signal") == 0) {
        say("signal() returned %s\n", signal(SIGTERM, on_term) == SIG_DFL ? "SIG_DFL" : "something else");
        siginterrupt(SIGTERM, 1);
    } else if (strcmp(mode, "sigset") == 0) {
        say("sigset() returned %s\n", sigset(SIGTERM, on_term) == SIG_DFL ? "SIG_DFL" : "something else");
        siginterrupt(SIGTERM, 1);
    } else if (strcmp(mode, "ignore") == 0) {
        say("signal() returned %s\n", signal(SIGTERM, SIG_IGN) == SIG_DFL ? "SIG_DFL" : "something else");
    } else if (strcmp(mode, "siginfo") == 0) {
        struct sigaction action = {.sa_flags = SA_SIGINFO}, old;
        action.sa_sigaction = on_term_info;
        sigaddset(&action.sa_mask, SIGUSR1);
        MUST(sigaction(SIGTERM, &action, &old) == 0);
        say("old action was %s\n", old.sa_handler == SIG_DFL ? "SIG_DFL" : "something else");
    } else {
        struct sigaction action = {.sa_handler = on_term}, old;
        MUST(sigaction(SIGTERM, &action, &old) == 0);
        say("old action was %s\n", old.sa_handler == SIG_DFL ? "SIG_DFL" : "something else");
    }
}

#pragma GCC diagnostic pop

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    const char *mode = argc > 1 ? argv[1] : "default";
    print_actions("at start");
    if (strcmp(mode, "before") == 0 || strcmp(mode, "ignore") == 0)
        install(mode);
    int listener = listen_on(AF_INET);
    take_clients(listener, 2, fds);
    print_actions("with sockets");
    if (strcmp(mode, "default") != 0 && strcmp(mode, "before") != 0 && strcmp(mode, "ignore") != 0)
        install(mode);
    print_actions("installed");
    if (strcmp(mode, "reset") == 0) {
        signal(SIGTERM, SIG_DFL);
        print_actions("reset");
    }
    ask("fin");
    const char *answer = end_here();
    say("handler called: %d, answer %s\n", (int)called, answer != NULL ? answer : "interrupted");
    return 0;
}
