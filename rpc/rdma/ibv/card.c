//go:build rdma && cgo && linux

#include "card.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static int failed(int r) { return r == 0 ? 0 : (r > 0 ? r : (errno ? errno : EIO)); }


// The pieces lie as ibv_sge does, so they go to the card as they are.
_Static_assert(sizeof(struct card_piece) == sizeof(struct ibv_sge), "pieces are not ibv_sge");

int card_post(struct ibv_qp *qp, struct card_send *reqs, int n, struct card_piece *pieces,
	int *taken) {
	struct ibv_send_wr wr[CARD_BATCH], *bad = NULL;
	struct ibv_sge *sges = (struct ibv_sge *)pieces;
	for (int i = 0; i < n; i++) {
		struct card_send *q = &reqs[i];
		struct ibv_send_wr *w = &wr[i];
		memset(w, 0, sizeof *w);
		w->wr_id = q->id;
		w->next = i + 1 < n ? w + 1 : NULL;
		w->opcode = q->op;
		w->send_flags = q->flags;
		w->sg_list = q->count ? sges + q->first : NULL;
		w->num_sge = q->count;
		switch (q->op) {
		case IBV_WR_RDMA_WRITE_WITH_IMM:
			w->imm_data = htonl(q->imm); // fall through
		case IBV_WR_RDMA_WRITE:
		case IBV_WR_RDMA_READ:
			w->wr.rdma.remote_addr = q->remote;
			w->wr.rdma.rkey = q->key;
			break;
		case IBV_WR_SEND_WITH_INV:
		case IBV_WR_LOCAL_INV:
			w->invalidate_rkey = q->key;
			break;
		case IBV_WR_BIND_MW:
			w->bind_mw.mw = q->window;
			w->bind_mw.rkey = q->key;
			w->bind_mw.bind_info.mr = q->region;
			w->bind_mw.bind_info.addr = sges[q->first].addr;
			w->bind_mw.bind_info.length = sges[q->first].length;
			w->bind_mw.bind_info.mw_access_flags = q->access;
			w->sg_list = NULL;
			w->num_sge = 0;
		}
	}
	int r = failed(ibv_post_send(qp, wr, &bad));
	*taken = r == 0 ? n : (bad ? (int)(bad - wr) : 0);
	if (r)
		return r;
	// The library names windows of the second type by what was bound last.
	for (int i = 0; i < n; i++)
		if (reqs[i].op == IBV_WR_BIND_MW)
			reqs[i].window->rkey = reqs[i].key;
	return 0;
}

int card_receive(struct ibv_qp *qp, struct ibv_srq *srq, struct card_recv *recvs, int n,
	struct card_piece *pieces, int *taken) {
	struct ibv_recv_wr wr[CARD_BATCH], *bad = NULL;
	for (int i = 0; i < n; i++)
		wr[i] = (struct ibv_recv_wr){
			.wr_id = recvs[i].id,
			.next = i + 1 < n ? &wr[i + 1] : NULL,
			.sg_list = (struct ibv_sge *)pieces + recvs[i].first,
			.num_sge = recvs[i].count,
		};
	int r = failed(srq ? ibv_post_srq_recv(srq, wr, &bad) : ibv_post_recv(qp, wr, &bad));
	*taken = r == 0 ? n : (bad ? (int)(bad - wr) : 0);
	return r;
}

int card_poll(struct ibv_cq *cq, struct card_done *into, int n) {
	struct ibv_wc wc[CARD_POLL];
	int got = ibv_poll_cq(cq, n < CARD_POLL ? n : CARD_POLL, wc);
	for (int i = 0; i < got; i++)
		into[i] = (struct card_done){
			.id = wc[i].wr_id,
			.qp = wc[i].qp_num,
			.op = wc[i].opcode,
			.status = wc[i].status,
			.vendor = wc[i].vendor_err,
			.bytes = wc[i].byte_len,
			.flags = wc[i].wc_flags,
			.word = wc[i].wc_flags & IBV_WC_WITH_IMM ? ntohl(wc[i].imm_data) : wc[i].invalidated_rkey,
		};
	return got;
}

int card_arm(struct ibv_cq *cq) { return failed(ibv_req_notify_cq(cq, 0)); }

// EAGAIN: nothing happened.
int card_cq_event(struct ibv_comp_channel *channel) {
	struct ibv_cq *cq;
	void *context;
	if (ibv_get_cq_event(channel, &cq, &context))
		return errno;
	ibv_ack_cq_events(cq, 1);
	return 0;
}

// Handles, and not addresses, name who an event is for: an address may be another's by the time
// the event is looked at.
int card_cm_event(struct rdma_event_channel *channel, struct card_event *into) {
	struct rdma_cm_event *e;
	if (rdma_get_cm_event(channel, &e))
		return errno ? errno : EIO;
	memset(into, 0, sizeof *into);
	into->handle = (uintptr_t)e->id->context;
	into->listener = e->listen_id ? (uintptr_t)e->listen_id->context : 0;
	into->id = e->id;
	into->event = e->event;
	into->status = e->status;
	switch (e->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
	case RDMA_CM_EVENT_ESTABLISHED:
	case RDMA_CM_EVENT_REJECTED:
		if (e->param.conn.private_data) {
			into->length = e->param.conn.private_data_len;
			memcpy(into->private, e->param.conn.private_data, into->length);
		}
		into->reads_in = e->param.conn.responder_resources;
		into->reads_out = e->param.conn.initiator_depth;
	default:
		break;
	}
	rdma_ack_cm_event(e);
	return 0;
}

int card_fault(struct ibv_context *ctx, struct card_fault *into) {
	struct ibv_async_event e;
	if (ibv_get_async_event(ctx, &e))
		return errno ? errno : EIO;
	into->event = e.event_type;
	into->qp = 0;
	switch (e.event_type) {
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
	case IBV_EVENT_QP_LAST_WQE_REACHED:
	case IBV_EVENT_PATH_MIG_ERR:
		into->qp = e.element.qp->qp_num;
	default:
		break;
	}
	ibv_ack_async_event(&e);
	return 0;
}

// In a static program the first call is what makes the drivers known, and librdmacm's own does not.
struct ibv_context **card_devices(int *n) {
	struct ibv_device **list = ibv_get_device_list(NULL);
	if (list)
		ibv_free_device_list(list);
	errno = 0;
	return rdma_get_devices(n);
}

int card_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *into) {
	return failed(ibv_query_port(ctx, port, into));
}

int card_create_id(struct rdma_event_channel *channel, uintptr_t handle, struct rdma_cm_id **into) {
	return failed(rdma_create_id(channel, into, (void *)handle, RDMA_PS_TCP));
}

void card_set_handle(struct rdma_cm_id *id, uintptr_t handle) { id->context = (void *)handle; }

static void to_socket(struct card_address *a, struct sockaddr_storage *into) {
	memset(into, 0, sizeof *into);
	if (a->four) {
		struct sockaddr_in *s = (struct sockaddr_in *)into;
		s->sin_family = AF_INET;
		s->sin_port = htons(a->port);
		memcpy(&s->sin_addr, a->ip, 4);
	} else {
		struct sockaddr_in6 *s = (struct sockaddr_in6 *)into;
		s->sin6_family = AF_INET6;
		s->sin6_port = htons(a->port);
		memcpy(&s->sin6_addr, a->ip, 16);
	}
}

int card_bind(struct rdma_cm_id *id, struct card_address *addr) {
	struct sockaddr_storage s;
	to_socket(addr, &s);
	return failed(rdma_bind_addr(id, (struct sockaddr *)&s));
}

int card_resolve(struct rdma_cm_id *id, struct card_address *addr, int ms) {
	struct sockaddr_storage s;
	to_socket(addr, &s);
	return failed(rdma_resolve_addr(id, NULL, (struct sockaddr *)&s, ms));
}

int card_route(struct rdma_cm_id *id, int ms) { return failed(rdma_resolve_route(id, ms)); }

int card_listen(struct rdma_cm_id *id, int backlog) { return failed(rdma_listen(id, backlog)); }

void card_peer(struct rdma_cm_id *id, struct card_address *into) {
	struct sockaddr *a = rdma_get_peer_addr(id);
	memset(into, 0, sizeof *into);
	into->port = ntohs(rdma_get_dst_port(id));
	into->four = a->sa_family == AF_INET;
	if (into->four)
		memcpy(into->ip, &((struct sockaddr_in *)a)->sin_addr, 4);
	else
		memcpy(into->ip, &((struct sockaddr_in6 *)a)->sin6_addr, 16);
}

int card_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_cq *cq, struct ibv_srq *srq,
	int sends, int recvs, int pieces, int inlined) {
	struct ibv_qp_init_attr a;
	memset(&a, 0, sizeof a);
	a.send_cq = a.recv_cq = cq;
	a.srq = srq;
	a.qp_type = IBV_QPT_RC;
	a.cap.max_send_wr = sends;
	a.cap.max_recv_wr = srq ? 0 : recvs;
	a.cap.max_send_sge = pieces;
	a.cap.max_recv_sge = srq ? 0 : pieces;
	a.cap.max_inline_data = inlined;
	return failed(rdma_create_qp(id, pd, &a));
}

struct ibv_srq *card_create_srq(struct ibv_pd *pd, int depth, int pieces) {
	struct ibv_srq_init_attr a = {.attr = {.max_wr = depth, .max_sge = pieces}};
	return ibv_create_srq(pd, &a);
}

int card_connect(struct rdma_cm_id *id, void *private, int length, int reads_in, int reads_out,
	int retries, int receiver_retries, int accept) {
	struct rdma_conn_param p;
	memset(&p, 0, sizeof p);
	p.private_data = length ? private : NULL;
	p.private_data_len = length;
	p.responder_resources = reads_in;
	p.initiator_depth = reads_out;
	p.retry_count = retries;
	p.rnr_retry_count = receiver_retries;
	return failed(accept ? rdma_accept(id, &p) : rdma_connect(id, &p));
}

int card_ack_timeout(struct rdma_cm_id *id, uint8_t code) {
	return failed(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &code, 1));
}

int card_receiver_timer(struct ibv_qp *qp, uint8_t code) {
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_RTS, .min_rnr_timer = code};
	return failed(ibv_modify_qp(qp, &a, IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER));
}

int card_break(struct ibv_qp *qp) {
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_ERR};
	return failed(ibv_modify_qp(qp, &a, IBV_QP_STATE));
}

int card_path(struct ibv_qp *qp, struct card_path *into) {
	struct ibv_qp_attr a;
	struct ibv_qp_init_attr i;
	int r = failed(ibv_query_qp(qp, &a, IBV_QP_PATH_MTU | IBV_QP_AV | IBV_QP_PORT, &i));
	if (r == 0)
		*into = (struct card_path){128u << a.path_mtu, a.port_num, a.ah_attr.grh.sgid_index};
	return r;
}
