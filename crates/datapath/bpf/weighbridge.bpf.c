// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The kernel's part of the data path: sends packets up to the daemon and puts them back.
// It decides nothing. The layout of both headers is repeated in src/frame.rs, the order of the
// counters in src/program.rs.

#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAGIC 0x57424447u /* in the CPU's byte order, as all fields below */

// A packet with the mark of a hook was decided for it: it passes once, the mark is consumed.
#define MARK_IN_DONE 0x10000000u
#define MARK_OUT_DONE 0x20000000u
// A packet that the engine made is looked at by no hook: the mark stays.
#define MARK_GENERATED 0x40000000u

enum direction { IN = 0, OUT = 1 };

// In front of a frame on its way up.
struct upcall {
	__u32 magic;
	__u32 interface;
	__u32 direction;
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
	__u32 reserved;
};

enum counter { UPCALLS, REINJECTED, NOT_IP, DECIDED, UPCALL_FAILED, REFUSED, COUNTERS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// Whose program this is; the loader sets it. `src/left.rs` reads it back from hooks that outlive
// their daemon.
const volatile struct {
	__u32 tap; /* number of the TAP device */
	char tap_name[16];
} owner;

static __always_inline void count(__u32 counter, __u64 by)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	// Per CPU, and these hooks do not preempt each other: no atomic needed.
	if (value)
		*value += by;
}

// The frame's own type is asked, not skb->protocol, which a sender on a packet socket can choose
// freely. A tag that the NIC took off is not in the frame any more.
static __always_inline int is_untagged_ip(struct __sk_buff *skb)
{
	__be16 type;

	if (skb->vlan_present)
		return 0;
	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return 0;
	return type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6);
}

// VLAN 0 is no VLAN (IEEE 802.1Q, section 9.6): the tag tells a priority, and whoever gets the
// frame takes what is in it as if it had none, however many there are. Around IP they come off,
// so that no packet goes around the filter by them.
#define PRIORITY_TAGS_MAX 4
#define VLAN_ID_MASK 0x0fff

static __always_inline int has_priority_tag(struct __sk_buff *skb)
{
	return skb->vlan_present && !(skb->vlan_tci & VLAN_ID_MASK);
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

static __always_inline int send_up(struct __sk_buff *skb, enum direction direction)
{
	struct upcall header = {
		.magic = MAGIC,
		.interface = skb->ifindex,
		.direction = direction,
	};
	// A super-packet is cut into its segments on the way into the TAP.
	__u32 packets = skb->gso_segs ? skb->gso_segs : 1;

	// No packet passes without a decision: what cannot be sent up is dropped.
	if (bpf_skb_change_head(skb, sizeof(header), 0) ||
	    bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0)) {
		count(UPCALL_FAILED, packets);
		return TC_ACT_SHOT;
	}
	count(UPCALLS, packets);
	return bpf_redirect(owner.tap, 0);
}

static __always_inline int hook(struct __sk_buff *skb, enum direction direction, __u32 done)
{
	if (take_priority_tags_off(skb)) {
		count(UPCALL_FAILED, 1);
		return TC_ACT_SHOT;
	}
	if (!is_untagged_ip(skb)) {
		count(NOT_IP, 1);
		return TC_ACT_UNSPEC;
	}
	if (skb->mark & (done | MARK_GENERATED)) {
		skb->mark &= ~done;
		count(DECIDED, 1);
		return TC_ACT_UNSPEC;
	}
	// The flow cache's look-up (`flow_lookup`) belongs here: a hit acts, a miss goes on.
	return send_up(skb, direction);
}

SEC("classifier")
int hook_in(struct __sk_buff *skb)
{
	return hook(skb, IN, MARK_IN_DONE);
}

SEC("classifier")
int hook_out(struct __sk_buff *skb)
{
	return hook(skb, OUT, MARK_OUT_DONE);
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
