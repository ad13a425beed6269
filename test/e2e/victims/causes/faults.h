/* The faults that struct cause (server.h) can be filled with. What each does wrong stands with it. */
#ifndef CAUSES_FAULTS_H
#define CAUSES_FAULTS_H

#include "server.h"

/* faults_listener.c */
int open_listener_nobody_serves(void);
int stop_accepting_at_limit(int listener);
int open_listener_and_use_up_fds(void);
int accept_without_room(int listener);
int accept_and_wait_for_lock(int listener);
int accept_and_refuse(int listener);
int accept_unseen(int listener);

/* faults_read.c */
enum next give_up_after_error(int fd);
enum next drop_at_end_of_stream(int fd);
enum next send_on_after_end(int fd);
void send_to_half_open(void);
int client_for_answering_once(int listener);
enum next answer_once_and_forget(int fd);
enum next pause_after_request(int fd);
enum next take_out_and_lose(int fd);
int accept_for_ignoring(int listener);
void loop_ignoring_hangup(void);

/* faults_owner.c */
enum next answer_after_lock(int fd);
int give_to_own_thread(int listener);
enum next close_all_but_the_copy(int fd);
enum next start_snapshot_child(int fd);
int leave_to_child(int listener);
enum next ask_for_status_only(int fd);
enum next ask_by_pool(int fd);

#endif
