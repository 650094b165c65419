// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The kernel's part of the data path: sends packets up to the daemon and puts them back.
// It decides nothing. The layout of both headers is repeated in src/frame.rs, the order of the
// counters in src/program.rs.

#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAGIC 0x57424447u /* in the CPU's byte order, as all fields below */

// A packet with the mark of a hook was decided for it: it passes once, the mark is consumed. That
// holds only beside the daemon's token in skb->tc_index, which no socket can set: SO_MARK is
// nobody's way around the filter. Between the hooks the mark's other bits are everybody's.
#define MARK_IN_DONE 0x10000000u
#define MARK_OUT_DONE 0x20000000u
// A packet that the engine made is looked at by no hook: the mark stays.
#define MARK_GENERATED 0x40000000u
// A packet that goes to a socket of this box, whatever its destination: rules of the kernel's
// routing see the mark, and the low bits tell which entry of `diverts`, from 1; 0 for none.
#define MARK_DIVERT 0x80000000u
#define MARK_DIVERT_ENTRY 0x0000ffffu
// Bits 16 to 23 are the routing table that the packet goes by (`rtable`): src/steer.rs.

// A packet that was decided when it came in and goes to a neighbour whose address nobody knew then:
// the rules for frames are asked when it leaves.
#define MARK_FRAME_DUE 0x01000000u

// A packet that the flow cache sends out: it has been at both hooks.
#define MARK_FUSED 0x02000000u

enum direction { IN = 0, OUT = 1 };

// Beside the direction: what goes up is a frame without an untagged IP packet, it has a tag that
// is not in it, the packet in it is decided and the frame is not.
#define IS_FRAME 2u
#define IS_TAGGED 4u
#define DEPARTS 8u

// In front of a frame on its way up. The TAP writes a tag that is not in the frame behind its
// first twelve bytes, which is in here then: behind `direction`.
struct upcall {
	__u32 magic;
	__u32 interface;
	__u32 direction;
	__u32 received_on; /* by which it came into the box; 0 for none */
	__u32 priority; /* 1 and that of its frame's tag; 0 for none */
	__u32 reserved;
};

enum action { TO_INGRESS = 1, TO_EGRESS = 2, TO_NEIGHBOUR = 3 };

// Behind a frame on its way down.
struct reinjection {
	__u32 magic;
	__u32 action;
	__u32 interface;
	__u32 mark;
	__u32 family; /* of next_hop, for TO_NEIGHBOUR */
	__u32 next_hop[4];
	__u32 priority; /* 1 and the priority; 0 for none */
};

enum counter {
	UPCALLS,
	REINJECTED,
	NOT_IP,
	DECIDED,
	UPCALL_FAILED,
	REFUSED,
	CACHED,
	BLOCKED,
	HELD_BACK,
	FUSED,
	BY_XDP,
	RIDDEN, /* by a lane: for each hook CACHED, and FUSED */
	RIDDEN_BY_XDP, /* the same, and BY_XDP */
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// Whose program this is; the loader sets it. `src/left.rs` reads it back from hooks that outlive
// their daemon: it has a value, so that the compiler lays it in front of all others.
const volatile struct {
	__u32 tap; /* number of the TAP device */
	char tap_name[16];
	__u32 token; /* random, 16 bits, not 0 */
} owner = {};

// One less than the places of lanes (lane.bpf.h), 0 for none, and a random number: nobody can choose
// whose place he takes.
const volatile __u32 lanes_mask;
const volatile __u64 lanes_seed;
// Nanoseconds between two ticks of the kernel.
const volatile __u64 jiffy_ns;
// Nanoseconds that what is learnt of a fused flow's way holds: exit.bpf.h; src/flows.rs says how many.
const volatile __u64 exit_lives;

// Where sockets listen that packets are diverted to; src/steer.rs writes it.
#define DIVERTS_MAX 256

struct divert {
	__u32 address[4];
	__u32 family;
	__be16 port;
	__u16 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIVERTS_MAX);
	__type(key, __u32);
	__type(value, struct divert);
} diverts SEC(".maps");

// Whether there are rules for frames; the daemon writes it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} frames SEC(".maps");

static __always_inline int filters_frames(void)
{
	__u32 first = 0;
	__u32 *value = bpf_map_lookup_elem(&frames, &first);

	return value && *value;
}

static __always_inline void count(__u32 counter, __u64 by)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	// Per CPU, and these hooks do not preempt each other: no atomic needed.
	if (value)
		*value += by;
}

#include "frame.bpf.h"
#include "tcp.bpf.h"
#include "flows.bpf.h"
#include "told.bpf.h"
#include "rewrite.bpf.h"
#include "exit.bpf.h"
#include "shares.bpf.h"
#include "xdp.bpf.h"
#include "lane.bpf.h"

// The frame's own type is asked, not skb->protocol, which a sender on a packet socket can choose
// freely. A tag that the NIC took off is not in the frame any more.
static __always_inline int is_untagged_ip(struct __sk_buff *skb)
{
	const struct frame frame = frame_of_skb(skb);
	__be16 type;

	if (skb->vlan_present)
		return 0;
	if (load(&frame, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return 0;
	return type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6);
}

// VLAN 0 is no VLAN (IEEE 802.1Q, section 9.6): the tag tells a priority, and whoever gets the
// frame takes what is in it as if it had none, however many there are. Around IP they come off,
// so that no packet goes around the filter by them.
#define PRIORITY_TAGS_MAX 4
#define VLAN_ID_MASK 0x0fff
#define VLAN_PRIORITY_SHIFT 13
// What of a tag is told between the programs of a hook. No flow depends on it: rules that ask for it make none.
#define PRIORITY_IN_CB 0
// And the interface by which a packet with a lane leaves.
#define OUT_IN_CB 1

static __always_inline int has_priority_tag(struct __sk_buff *skb)
{
	return skb->vlan_present && !(skb->vlan_tci & VLAN_ID_MASK);
}

// 1 and the priority of the tag; 0 if there is none.
static __always_inline __u32 tag_priority(struct __sk_buff *skb)
{
	return has_priority_tag(skb) ? 1 + (skb->vlan_tci >> VLAN_PRIORITY_SHIFT & 7) : 0;
}

static __always_inline int may_hide_ip(struct __sk_buff *skb)
{
	__be16 type;

	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return 0;
	return type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6) ||
	       type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

// 0 if none is left that hides IP.
static __always_inline int take_priority_tags_off(struct __sk_buff *skb)
{
	for (int tags = 0; tags < PRIORITY_TAGS_MAX; tags++) {
		if (!has_priority_tag(skb) || !may_hide_ip(skb))
			return 0;
		if (bpf_skb_vlan_pop(skb))
			return -1;
	}
	return has_priority_tag(skb) && may_hide_ip(skb);
}

static __always_inline int send_up(struct __sk_buff *skb, enum direction direction, __u32 flags,
				   __u32 priority)
{
	struct upcall header = {
		.magic = MAGIC,
		.interface = skb->ifindex,
		.direction = direction | flags,
		.received_on = direction == OUT ? skb->ingress_ifindex : 0,
		.priority = priority,
	};
	// A super-packet is cut into its segments on the way into the TAP.
	__u32 packets = skb->gso_segs ? skb->gso_segs : 1;
	const struct frame frame = frame_of_skb(skb);
	__u32 came_by = direction == IN ? skb->ifindex : skb->ingress_ifindex;

	if (came_by && !has_share(&frame, came_by, packets)) {
		count(HELD_BACK, packets);
		return TC_ACT_SHOT;
	}
	// No packet passes without a decision: what cannot be sent up is dropped.
	if (bpf_skb_change_head(skb, sizeof(header), 0) ||
	    bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0)) {
		count(UPCALL_FAILED, packets);
		return TC_ACT_SHOT;
	}
	count(UPCALLS, packets);
	return bpf_redirect(owner.tap, 0);
}

#include "open.bpf.h"

struct flow {
	struct bpf_sock_tuple tuple;
	__u32 is_v6;
	__u32 protocol;
};

// 0 if it is a TCP or UDP packet without extension headers.
static __always_inline int read_flow(struct __sk_buff *skb, struct flow *flow)
{
	struct bpf_sock_tuple *tuple = &flow->tuple;
	__u32 offset = ETH_HLEN;
	__be16 type;

	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return -1;
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
			return -1;
		tuple->ipv4.saddr = ip.saddr;
		tuple->ipv4.daddr = ip.daddr;
		flow->protocol = ip.protocol;
		flow->is_v6 = 0;
		offset += ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
			return -1;
		__builtin_memcpy(tuple->ipv6.saddr, &ip.saddr, sizeof(tuple->ipv6.saddr));
		__builtin_memcpy(tuple->ipv6.daddr, &ip.daddr, sizeof(tuple->ipv6.daddr));
		flow->protocol = ip.nexthdr;
		flow->is_v6 = 1;
		offset += sizeof(ip);
	}
	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return -1;
	// Source and destination port stand side by side, in the headers as in the tuple.
	if (flow->is_v6)
		return bpf_skb_load_bytes(skb, offset, &tuple->ipv6.sport, 4);
	return bpf_skb_load_bytes(skb, offset, &tuple->ipv4.sport, 4);
}

// The verifier wants to know the size by looking at it.
static __always_inline __u32 tuple_size(const struct flow *flow)
{
	return flow->is_v6 ? sizeof(flow->tuple.ipv6) : sizeof(flow->tuple.ipv4);
}

// Whether the flow has a socket of its own: that is found again by the kernel itself. Each protocol by
// itself: kernels before 6.5 want an instruction that reads a socket to read one kind of socket.
static __always_inline int is_connected_tcp(struct __sk_buff *skb, struct flow *flow)
{
	struct bpf_sock *sk;
	int connected;

	sk = bpf_skc_lookup_tcp(skb, &flow->tuple, tuple_size(flow), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	connected = sk->state != BPF_TCP_LISTEN && sk->state != BPF_TCP_TIME_WAIT;
	bpf_sk_release(sk);
	return connected;
}

static __always_inline int is_connected_udp(struct __sk_buff *skb, struct flow *flow)
{
	struct bpf_sock *sk;
	int connected;

	sk = bpf_sk_lookup_udp(skb, &flow->tuple, tuple_size(flow), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	connected = sk->dst_port != 0;
	bpf_sk_release(sk);
	return connected;
}

static __always_inline int is_connected(struct __sk_buff *skb, struct flow *flow)
{
	if (flow->protocol == IPPROTO_TCP)
		return is_connected_tcp(skb, flow);
	return is_connected_udp(skb, flow);
}

// Hands the packet to the socket that listens where it is diverted to.
static __always_inline void assign(struct __sk_buff *skb, __u32 entry)
{
	struct flow flow = {};
	struct divert *to;
	struct bpf_sock *sk;
	__u32 index = entry - 1;

	if (!entry || read_flow(skb, &flow) || is_connected(skb, &flow))
		return;
	to = bpf_map_lookup_elem(&diverts, &index);
	if (!to)
		return;
	if (flow.is_v6) {
		__builtin_memcpy(flow.tuple.ipv6.daddr, to->address, sizeof(to->address));
		flow.tuple.ipv6.dport = to->port;
	} else {
		flow.tuple.ipv4.daddr = to->address[0];
		flow.tuple.ipv4.dport = to->port;
	}
	if (flow.protocol == IPPROTO_TCP)
		sk = bpf_sk_lookup_tcp(skb, &flow.tuple, tuple_size(&flow), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &flow.tuple, tuple_size(&flow), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return;
	// Without a listener the kernel answers as for any closed port.
	if (flow.protocol != IPPROTO_TCP || sk->state == BPF_TCP_LISTEN)
		bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
}

// What becomes of a packet with a lane; TC_ACT_UNSPEC of one that has none. It leaves by a program that is there
// as long as the daemon: lanes go with it as the cache does.
static __always_inline int by_lane(struct __sk_buff *skb)
{
	const struct frame frame = frame_of_skb(skb);
	__u32 out = 0;

	if (skb->vlan_present || skb->tc_index == owner.token)
		return TC_ACT_UNSPEC;
	switch (take_lane(&frame, &out)) {
	case STAYS:
		return TC_ACT_UNSPEC;
	case FAILS:
		count(UPCALL_FAILED, 1);
		return TC_ACT_SHOT;
	case RIDES:
		break;
	}
	skb->cb[OUT_IN_CB] = out;
	bpf_tail_call(skb, &fast_path, RIDE);
	count(UPCALL_FAILED, 1);
	return TC_ACT_SHOT;
}

static __always_inline int hook(struct __sk_buff *skb, enum direction direction, __u32 done)
{
	__u32 priority, flags = 0;

	if (direction == OUT && skb->tc_index) {
		if (skb->tc_index == owner.token && skb->mark == (MARK_OUT_DONE | MARK_FUSED)) {
			skb->mark = 0;
			skb->tc_index = 0;
			return TC_ACT_UNSPEC;
		}
		count_leaving(skb);
	}
	priority = tag_priority(skb);
	if (take_priority_tags_off(skb)) {
		count(UPCALL_FAILED, 1);
		return TC_ACT_SHOT;
	}
	if (!is_untagged_ip(skb)) {
		if (!filters_frames()) {
			skb->mark &= ~done;
			count(NOT_IP, 1);
			return TC_ACT_UNSPEC;
		}
		flags = skb->vlan_present ? IS_FRAME | IS_TAGGED : IS_FRAME;
	}
	if (direction == OUT && skb->tc_index == owner.token && skb->mark & done &&
	    skb->mark & MARK_FRAME_DUE && !(skb->mark & MARK_GENERATED)) {
		skb->mark &= ~(done | MARK_FRAME_DUE);
		skb->tc_index = 0;
		return send_up(skb, direction, flags | DEPARTS, priority);
	}
	if (skb->tc_index == owner.token && skb->mark & (done | MARK_GENERATED)) {
		skb->mark &= ~done;
		if (!(skb->mark & MARK_GENERATED))
			skb->tc_index = 0;
		if (direction == IN && skb->mark & MARK_DIVERT)
			assign(skb, skb->mark & MARK_DIVERT_ENTRY);
		count(DECIDED, 1);
		return TC_ACT_UNSPEC;
	}
	// Goes on here if the cache is off.
	if (!flags) {
		skb->cb[PRIORITY_IN_CB] = priority;
		bpf_tail_call(skb, &fast_path, direction);
	}
	return send_up(skb, direction, flags, priority);
}

// Behind a hook: an untagged IP packet that nothing has been decided about.
static __always_inline int repeat(struct __sk_buff *skb, enum direction direction)
{
	const struct frame frame = frame_of_skb(skb);
	struct passing passing = {};
	__u32 packets = follow(&frame, direction, &passing);
	struct flow_key *key;
	struct exit *exit;

	if (!packets)
		return send_up(skb, direction, 0, skb->cb[PRIORITY_IN_CB]);
	key = &passing.aside->key;
	if (passing.aside->first.ends.act == DROP) {
		count(BLOCKED, packets);
		return TC_ACT_SHOT;
	}
	if (apply(&frame, key, &passing.aside->plain, &passing.aside->first)) {
		count(UPCALL_FAILED, packets);
		return TC_ACT_SHOT;
	}
	// As behind an upcall: nothing that came along steers the kernel's routing or queues.
	skb->mark = 0;
	skb->priority = 0;
	count(CACHED, packets);
	exit = &passing.aside->exit;
	if (is_told(exit, &passing.place))
		return leave_as_told(skb, &frame, key, &passing, exit);
	if (direction == IN) {
		keep(key, &passing);
		return go_on(skb, &frame, key, &passing, exit);
	}
	learn(skb, key, &passing);
	return TC_ACT_UNSPEC;
}

SEC("classifier")
int hook_in(struct __sk_buff *skb)
{
	int ended = by_lane(skb);

	return ended == TC_ACT_UNSPEC ? hook(skb, IN, MARK_IN_DONE) : ended;
}

SEC("classifier")
int hook_out(struct __sk_buff *skb)
{
	return hook(skb, OUT, MARK_OUT_DONE);
}

SEC("classifier")
int flow_in(struct __sk_buff *skb)
{
	return repeat(skb, IN);
}

SEC("classifier")
int flow_out(struct __sk_buff *skb)
{
	return repeat(skb, OUT);
}

// Behind `hook_in`, for a packet that has a lane.
SEC("classifier")
int flow_ride(struct __sk_buff *skb)
{
	count(RIDDEN, 1);
	skb->priority = 0;
	let_out(skb);
	return bpf_redirect(skb->cb[OUT_IN_CB], 0);
}

// Behind `flow_in`, for a packet that leaves by its two states.
SEC("classifier")
int flow_pave(struct __sk_buff *skb)
{
	const struct aside *aside = all_aside();

	if (!aside)
		return TC_ACT_SHOT;
	pave(aside);
	return send_out(skb, &aside->exit);
}

// Behind `flow_xdp`, the same.
SEC("xdp.frags")
int flow_xdp_pave(struct xdp_md *xdp)
{
	const struct aside *aside = all_aside();

	if (!aside)
		return XDP_DROP;
	pave(aside);
	return bpf_redirect_map(&xdp_ports, aside->exit.interface, 0);
}

// Programs of their own, so that what a SYN needs is in nobody else's way.
SEC("classifier")
int open_in(struct __sk_buff *skb)
{
	return repeat_opening(skb, IN);
}

SEC("classifier")
int open_out(struct __sk_buff *skb)
{
	return repeat_opening(skb, OUT);
}

// Before a hook: a frame as the driver has it. Tags are in the frame, or the interface has no hook
// of this kind.
SEC("xdp.frags")
int flow_xdp(struct xdp_md *xdp)
{
	const struct frame frame = frame_of_xdp(xdp);
	struct passing passing = {};
	struct flow_key *key;
	__u32 out = 0;
	__be16 type;

	switch (take_lane(&frame, &out)) {
	case STAYS:
		break;
	case FAILS:
		count(UPCALL_FAILED, 1);
		return XDP_DROP;
	case RIDES:
		count(RIDDEN_BY_XDP, 1);
		return bpf_redirect_map(&xdp_ports, out, 0);
	}
	if (load(&frame, offsetof(struct ethhdr, h_proto), &type, sizeof(type)) ||
	    (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6)))
		return XDP_PASS;
	if (begin(&passing))
		return XDP_PASS;
	key = &passing.aside->key;
	key->interface = frame.interface;
	key->direction = IN;
	if (read_plain(&frame, key, &passing.aside->plain) || find(key, &passing.place))
		return XDP_PASS;
	return cross(&frame, key, &passing);
}

// On the ingress of a bridge that has no hooks: a bridge takes the socket off a packet that was
// given one at its port.
SEC("classifier")
int divert_in(struct __sk_buff *skb)
{
	if (skb->mark & MARK_DIVERT)
		assign(skb, skb->mark & MARK_DIVERT_ENTRY);
	return TC_ACT_UNSPEC;
}

static __always_inline int to_neighbour(const struct reinjection *to)
{
	struct bpf_redir_neigh next_hop = { .nh_family = to->family };

	__builtin_memcpy(next_hop.ipv6_nh, to->next_hop, sizeof(to->next_hop));
	return bpf_redirect_neigh(to->interface, &next_hop, sizeof(next_hop), 0);
}

// On the TAP's ingress: everything that the daemon writes.
SEC("classifier")
int reinject(struct __sk_buff *skb)
{
	struct reinjection to;
	__u32 frame_len = skb->len - sizeof(to);

	if (skb->len < ETH_HLEN + sizeof(to) ||
	    bpf_skb_load_bytes(skb, frame_len, &to, sizeof(to)) || to.magic != MAGIC ||
	    bpf_skb_change_tail(skb, frame_len, 0))
		goto refused;

	skb->mark = to.mark;
	skb->tc_index = owner.token;
	skb->priority = to.priority ? to.priority - 1 : 0;
	switch (to.action) {
	case TO_INGRESS:
		count(REINJECTED, 1);
		return bpf_redirect(to.interface, BPF_F_INGRESS);
	case TO_EGRESS:
		count(REINJECTED, 1);
		return bpf_redirect(to.interface, 0);
	case TO_NEIGHBOUR:
		count(REINJECTED, 1);
		return to_neighbour(&to);
	}
refused:
	count(REFUSED, 1);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
