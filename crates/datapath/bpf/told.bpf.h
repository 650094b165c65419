// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// A packet that meets a hook, and where the engine has told how it leaves, the state that it meets there as well.

static __always_inline int is_told(const struct exit *exit, const struct flow_place *place)
{
	return exit && exit->told != LEARNT && exit->use == place->use;
}

// Whether the state at the place, as it is, would take a segment that may change it. One of which numbers are
// moved is not asked. Nothing is locked: what else comes meanwhile is looked at when the segment is.
__noinline __u32 would_take(struct aside *aside, const struct flow_place *place)
{
	struct peer source, destination;
	struct found found;
	__u32 way;

	if (!aside || !place || find_place(place, &found))
		return 0;
	if (found.state->shifts[0] | found.state->shifts[1])
		return 0;
	way = place->way & 1;
	source = found.state->peers[way];
	destination = found.state->peers[!way];
	return takes(&source, &destination, &aside->plain.segment, 0);
}

// Whether a packet can leave as the engine has said. What may change a state is for the engine, unless the other
// takes it as well: from one alone it could not be taken back. Where another packet comes between both, the engine
// has to do with what the first has seen before, as when it is sent again. What is told does not change as long as
// its slot is in use.
static __always_inline int can_leave(const struct flow_place *place, const struct exit *exit,
				     struct aside *aside, __u64 now)
{
	const struct plain *plain = &aside->plain;
	struct found from, then;
	int changes;

	if (find_place(place, &from) || plain->longest > exit->longest || plain->hops <= exit->hops)
		return 0;
	changes = may_change(from.state, place->way & 1, plain);
	if (exit->out.use) {
		if (find_place(&exit->out, &then) || !is_in_use(&then) ||
		    (__s64)(now - then.state->last) >= (__s64)then.state->lifetime)
			return 0;
		changes |= may_change(then.state, then.place.way & 1, plain);
		if (changes && !would_take(aside, &exit->out))
			return 0;
	}
	return !changes || would_take(aside, place);
}

// A packet that has waited stands for so many that pass, or for none: it never counts where it has not
// passed, whoever reads the figures meanwhile. The daemon waits for it before it takes what it reads for
// the last.
static __always_inline void decide(const struct flow_place *place, const struct plain *plain,
				   __u32 packets)
{
	__u64 bytes = plain->bytes & ((__s64)(0ull - packets) >> 63); /* no branch, for the verifier */
	__u32 way = place->way & 1;
	struct flow_state *state;
	struct found found;

	if (find_place(place, &found))
		return;
	state = found.state;
	bpf_spin_lock(&state->lock);
	state->undecided--;
	state->traffic[way].packets += packets;
	state->traffic[way].bytes += bytes;
	bpf_spin_unlock(&state->lock);
}

// As `pass`, for a packet at a hook, and where the engine has told how it leaves there as well. How it
// leaves is aside then.
static __always_inline __u32 follow(const struct frame *frame, enum direction direction,
				    struct passing *passing)
{
	struct flow_key *key;
	struct exit *known;
	const struct exit *exit;
	__u32 way, packets, passed;
	struct plain *plain;
	int told;

	if (begin(passing))
		return 0;
	key = &passing->aside->key;
	key->interface = frame->interface;
	key->direction = direction;
	if (read_plain(frame, key, &passing->aside->plain))
		return 0;
	if (find(key, &passing->place)) {
		// Goes on here if the cache opens no connections.
		if (key->opens)
			bpf_tail_call(frame->ctx, &fast_path, OPENS + direction);
		return 0;
	}
	known = &passing->aside->exit;
	way = passing->place.way;
	exit = bpf_map_lookup_elem(&flow_exits, &way);
	told = is_told(exit, &passing->place);
	if (told && !can_leave(&passing->place, exit, passing->aside, passing->now))
		return 0;
	plain = &passing->aside->plain;
	plain->waits = told && exit && exit->out.use;
	if (direction == OUT && !told)
		exit = NULL;
	packets = pass(passing->aside, &passing->place, passing->now, exit, 0);
	if (!packets)
		return 0;
	retell(plain, &passing->aside->first);
	if (!plain->waits)
		return packets;
	plain->waits = 0;
	passed = pass(passing->aside, &known->out, passing->now, NULL, 1);
	decide(&passing->place, plain, passed);
	return passed;
}
