// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What becomes of a packet that passes: other ends (NAT), and other sequence numbers (`modulate state`).
// Checksums are moved by the differences (RFC 1624).

#define MANGLED_0(protocol) ((protocol) == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0)

static __always_inline int is_echo(__u8 protocol)
{
	return protocol != IPPROTO_TCP && protocol != IPPROTO_UDP;
}

// Where the transport's checksum is.
static __always_inline __u32 checksum_of(__u8 protocol, __u32 at)
{
	if (protocol == IPPROTO_TCP)
		return at + offsetof(struct tcphdr, check);
	return at + (protocol == IPPROTO_UDP ? offsetof(struct udphdr, check) : 2);
}

static __always_inline int set_address(const struct frame *frame, __u32 at, __u32 checksum_at,
				       __u8 protocol, __u32 from, __u32 to)
{
	if (from == to)
		return 0;
	if (sum_of_header(frame, ETH_HLEN + offsetof(struct iphdr, check), from, to))
		return -1;
	if (checksum_at && sum_of_payload(frame, checksum_at, from, to,
					  BPF_F_PSEUDO_HDR | MANGLED_0(protocol) | sizeof(to)))
		return -1;
	return store(frame, at, &to, sizeof(to));
}

// IPv4's. The checksum of an echo does not cover them.
static __always_inline int set_addresses(const struct frame *frame, const struct flow_key *key,
					 const struct ends *to, __u32 checksum_at)
{
	__u8 protocol = key->protocol;
	__u32 sum = is_echo(protocol) ? 0 : checksum_at;

	if (set_address(frame, ETH_HLEN + offsetof(struct iphdr, saddr), sum, protocol,
			key->source[0], to->source))
		return -1;
	return set_address(frame, ETH_HLEN + offsetof(struct iphdr, daddr), sum, protocol,
			   key->destination[0], to->destination);
}

// IPv6's: both at once, as they stand side by side in the header and wherever they are kept. All checksums
// cover them. One moves by what they have moved, so that the sum of all is what it was; what the NIC has
// counted is moved along by the kernel, which is right for IPv4 alone, and is moved back.
static __always_inline int set_addresses_v6(const struct frame *frame, const struct flow_key *key,
					    const struct addresses_v6 *to, __u32 checksum_at)
{
	__s64 by = bpf_csum_diff((__be32 *)key->source, sizeof(*to), (__be32 *)to->source,
				 sizeof(*to), 0);

	if (by < 0 || sum_of_payload(frame, checksum_at, 0, by,
				     BPF_F_PSEUDO_HDR | MANGLED_0(key->protocol)))
		return -1;
	sum_of_nic(frame, by);
	return store(frame, ETH_HLEN + offsetof(struct ipv6hdr, saddr), (void *)to, sizeof(*to));
}

static __always_inline int set_port(const struct frame *frame, __u32 at, __u32 checksum_at,
				    __u8 protocol, __be16 from, __be16 to)
{
	if (from == to)
		return 0;
	if (sum_of_payload(frame, checksum_at, from, to, MANGLED_0(protocol) | sizeof(to)))
		return -1;
	return store(frame, at, &to, sizeof(to));
}

static __always_inline int set_ports(const struct frame *frame, const struct flow_key *key, __u32 at,
				     const struct ends *to, __u32 checksum_at)
{
	__u8 protocol = key->protocol;

	if (set_port(frame, at, checksum_at, protocol, key->source_port, to->source_port))
		return -1;
	return set_port(frame, at + 2, checksum_at, protocol, key->destination_port,
			to->destination_port);
}

// Adds to a number of a segment.
static __always_inline int move_number(const struct frame *frame, __u32 at, __u32 checksum_at,
				       __u32 by)
{
	__be32 from, to;

	if (load_anywhere(frame, at, &from, sizeof(from)))
		return -1;
	to = bpf_htonl(bpf_ntohl(from) + by);
	if (sum_of_payload(frame, checksum_at, from, to, sizeof(to)))
		return -1;
	return store(frame, at, &to, sizeof(to));
}

// 0 if a segment has the numbers that the other end knows.
static __always_inline int modulate(const struct frame *frame, const struct plain *plain,
				    const struct change *to)
{
	__u32 at = plain->at, sum = at + offsetof(struct tcphdr, check);
	__u32 sack_at = at + plain->segment.sack_at, edges = plain->segment.sack_edges;

	if (to->seq && move_number(frame, at + offsetof(struct tcphdr, seq), sum, to->seq))
		return -1;
	if (!to->ack)
		return 0;
	if (move_number(frame, at + offsetof(struct tcphdr, ack_seq), sum, -to->ack))
		return -1;
	// In a loop that stays one: eight times the same takes the room on the stack eight times.
#pragma clang loop unroll(disable)
	for (__u32 edge = 0; edge < SACK_EDGES_MAX; edge++) {
		if (edge >= edges)
			return 0;
		if (move_number(frame, sack_at + edge * sizeof(__u32), sum, -to->ack))
			return -1;
	}
	return 0;
}

// 0 if the packet has become what its flow says.
static __always_inline int translate(const struct frame *frame, const struct flow_key *key,
				     const struct plain *plain, const struct change *to)
{
	__u8 protocol = key->protocol;
	__u32 sum = checksum_of(protocol, plain->at);
	const struct ends *ends = &to->ends;
	int failed = key->family == FAMILY_V6 ? set_addresses_v6(frame, key, &to->v6, sum) :
						set_addresses(frame, key, ends, sum);

	if (failed)
		return -1;
	if (is_echo(protocol))
		return set_port(frame, plain->at + 4, sum, protocol,
				plain->asks ? key->source_port : key->destination_port,
				plain->asks ? ends->source_port : ends->destination_port);
	return set_ports(frame, key, plain->at, ends, sum);
}

static __always_inline int change(const struct frame *frame, const struct flow_key *key,
				  const struct plain *plain, const struct change *to)
{
	if (to->ends.act == TRANSLATE && translate(frame, key, plain, to))
		return -1;
	return to->seq || to->ack ? modulate(frame, plain, to) : 0;
}

// Functions of their own, for the same reason as `flow_aside`, and not static: so a verifier goes through
// them once, whatever calls them. It does not know that nothing that they get is null.
__noinline int change_skb(struct __sk_buff *skb, const struct flow_key *key, const struct plain *plain,
			  const struct change *to)
{
	const struct frame frame = frame_of_skb(skb);

	return key && plain && to ? change(&frame, key, plain, to) : -1;
}

__noinline int change_xdp(struct xdp_md *xdp, const struct flow_key *key, const struct plain *plain,
			  const struct change *to)
{
	const struct frame frame = { .ctx = xdp, .is_xdp = 1 };

	return key && plain && to ? change(&frame, key, plain, to) : -1;
}

// 0 if the packet has become what is said.
static __always_inline int apply(const struct frame *frame, const struct flow_key *key,
				 const struct plain *plain, const struct change *to)
{
	if (to->ends.act != TRANSLATE && !to->seq && !to->ack)
		return 0;
	if (frame->is_xdp)
		return change_xdp(frame->ctx, key, plain, to);
	return change_skb(frame->ctx, key, plain, to);
}
