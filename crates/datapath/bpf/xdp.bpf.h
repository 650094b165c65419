// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The flow cache where a driver hands frames over, before the kernel has made anything of them: of
// flows that are fused, and of those that are blocked. All others pass, and meet the hooks. It
// learns nothing. Queueing disciplines are not asked, and checksums must be complete.

#define XDP_PORTS_MAX 1024 /* src/program.rs */

// Interfaces that frames may be sent out of in this way; the daemon writes it.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, XDP_PORTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xdp_ports SEC(".maps");

// The program that makes lanes of flows, as in `fast_path`.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xdp_path SEC(".maps");

// Whether an exit may be taken by this packet. It may be written meanwhile, so it is asked again
// for what it was under the lock.
static __always_inline int is_open(const struct exit *exit, const struct passing *passing)
{
	return exit->told == LEARNT && exit->use == passing->place.use &&
	       exit->topology == topology_now() &&
	       passing->now - exit->learned < EXIT_LIVES && exit->interface &&
	       passing->aside->plain.longest <= exit->longest && passing->now >= exit->begins &&
	       passing->aside->plain.hops > exit->hops;
}

// Ends a packet of a flow that is blocked.
static __always_inline int drop(struct passing *passing)
{
	__u32 packets = pass(passing->aside, &passing->place, passing->now, NULL, 0);

	if (!packets)
		return XDP_PASS;
	count(BLOCKED, packets);
	return XDP_DROP;
}

// Sends a packet out as both hooks would have.
static __always_inline int send(const struct frame *frame, struct flow_key *key,
				struct passing *passing, struct exit *exit)
{
	__u32 packets = passing->aside->plain.packets;

	if (apply(frame, key, &passing->aside->plain, &passing->aside->first))
		goto failed;
	rename_ends(key, &passing->aside->first);
	if (dress(frame, key, passing, exit))
		goto failed;
	count(CACHED, packets);
	count(FUSED, packets);
	count(BY_XDP, packets);
	if (may_have_lane(key))
		bpf_tail_call(frame->ctx, &xdp_path, 0);
	return bpf_redirect_map(&xdp_ports, exit->interface, 0);
failed:
	count(UPCALL_FAILED, packets);
	return XDP_DROP;
}

// A packet of a known flow.
static __always_inline int cross(const struct frame *frame, struct flow_key *key,
				 struct passing *passing)
{
	struct found entered;
	struct exit *exit = &passing->aside->exit, *known;
	__u32 way = passing->place.way, passed = 0;

	if (find_place(&passing->place, &entered))
		return XDP_PASS;
	if (entered.state->ends[way & 1].act == DROP)
		return drop(passing);
	known = bpf_map_lookup_elem(&flow_exits, &way);
	passing->aside->plain.waits = 1;
	if (!known || !is_open(known, passing) ||
	    !bpf_map_lookup_elem(&xdp_ports, &known->interface) ||
	    may_change(entered.state, way & 1, &passing->aside->plain) ||
	    !pass(passing->aside, &passing->place, passing->now, known, 0))
		return XDP_PASS;
	keep(key, passing);
	retell(&passing->aside->plain, &passing->aside->first);
	passing->aside->plain.waits = 0;
	if (is_open(exit, passing))
		passed = pass(passing->aside, &exit->out, passing->now, NULL, 1);
	decide(&passing->place, &passing->aside->plain, passed);
	if (!passed)
		return XDP_PASS;
	return send(frame, key, passing, exit);
}
