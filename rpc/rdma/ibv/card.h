// What Go asks of libibverbs and librdmacm: flat structures both ways, and the functions whose work
// is macros, unions or several calls. Functions return 0 or an errno.
#ifndef ASHLAR_CARD_H
#define ASHLAR_CARD_H

#include <stdint.h>
#include <stdlib.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#define CARD_BATCH 32
#define CARD_POLL 64
#define CARD_PRIVATE 256

struct card_piece { uint64_t addr; uint32_t length, key; };

struct card_send {
	uint64_t id, remote;
	struct ibv_mw *window;
	struct ibv_mr *region;
	uint32_t op, flags, key, imm, access, first, count;
};

struct card_recv { uint64_t id; uint32_t first, count; };

struct card_done {
	uint64_t id;
	uint32_t qp, op, status, vendor, bytes, flags, word;
};

struct card_event {
	uintptr_t handle, listener;
	struct rdma_cm_id *id;
	int event, status;
	uint32_t length;
	uint8_t private[CARD_PRIVATE];
	uint8_t reads_in, reads_out;
};

struct card_fault { int event; uintptr_t qp; };

struct card_address { uint8_t ip[16]; uint16_t port; uint8_t four; };

struct card_path { uint32_t mtu, port, gid; };

int card_post(struct ibv_qp *qp, struct card_send *reqs, int n, struct card_piece *pieces, int *taken);
int card_receive(struct ibv_qp *qp, struct ibv_srq *srq, struct card_recv *recvs, int n,
	struct card_piece *pieces, int *taken);
int card_poll(struct ibv_cq *cq, struct card_done *into, int n);
int card_arm(struct ibv_cq *cq);
int card_cq_event(struct ibv_comp_channel *channel);
int card_cm_event(struct rdma_event_channel *channel, struct card_event *into);
int card_fault(struct ibv_context *ctx, struct card_fault *into);

struct ibv_context **card_devices(int *n);
int card_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *into);

int card_create_id(struct rdma_event_channel *channel, uintptr_t handle, struct rdma_cm_id **into);
void card_set_handle(struct rdma_cm_id *id, uintptr_t handle);
int card_bind(struct rdma_cm_id *id, struct card_address *addr);
int card_resolve(struct rdma_cm_id *id, struct card_address *addr, int ms);
int card_route(struct rdma_cm_id *id, int ms);
int card_listen(struct rdma_cm_id *id, int backlog);
void card_peer(struct rdma_cm_id *id, struct card_address *into);
int card_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_cq *cq, struct ibv_srq *srq,
	int sends, int recvs, int pieces, int inlined);
struct ibv_srq *card_create_srq(struct ibv_pd *pd, int depth, int pieces);
int card_connect(struct rdma_cm_id *id, void *private, int length, int reads_in, int reads_out,
	int retries, int receiver_retries, int accept);
int card_ack_timeout(struct rdma_cm_id *id, uint8_t code);
int card_receiver_timer(struct ibv_qp *qp, uint8_t code);
int card_break(struct ibv_qp *qp);
int card_path(struct ibv_qp *qp, struct card_path *into);

#endif
