// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// A frame at a hook, whichever kind of hook it is. Which kind is known when this is compiled: what
// the other kind needs is not in the program.

struct frame {
	void *ctx;
	__u32 is_xdp;
	__u32 len;
	__u32 interface;
	__u32 segment; /* bytes of payload of a super-packet's segments; 0 of a packet */
};

static __always_inline struct frame frame_of_skb(struct __sk_buff *skb)
{
	struct frame frame = {
		.ctx = skb,
		.len = skb->len,
		.interface = skb->ifindex,
		.segment = skb->gso_size,
	};

	return frame;
}

static __always_inline struct frame frame_of_xdp(struct xdp_md *xdp)
{
	struct frame frame = {
		.ctx = xdp,
		.is_xdp = 1,
		.len = bpf_xdp_get_buff_len(xdp),
		.interface = xdp->ingress_ifindex,
	};

	return frame;
}

// Headers behind that of Ethernet, which has 14 bytes, stand at multiples of four in the kernel's
// memory (NET_IP_ALIGN) where that matters.
#define aligned_at(place, at) \
	(__builtin_constant_p(at) && (at) < ETH_HLEN ? __builtin_assume_aligned(place, 2) : \
						       __builtin_assume_aligned(place, 4))

static __always_inline void *data_of(const struct frame *frame)
{
	const struct __sk_buff *skb = frame->ctx;
	const struct xdp_md *xdp = frame->ctx;

	return frame->is_xdp ? (void *)(long)xdp->data : (void *)(long)skb->data;
}

// Behind what of the frame is in one piece.
static __always_inline void *end_of(const struct frame *frame)
{
	const struct __sk_buff *skb = frame->ctx;
	const struct xdp_md *xdp = frame->ctx;

	return frame->is_xdp ? (void *)(long)xdp->data_end : (void *)(long)skb->data_end;
}

// Of which the place need not be known when this is compiled.
static __always_inline int load_anywhere(const struct frame *frame, __u32 at, void *to, __u32 len)
{
	if (frame->is_xdp)
		return bpf_xdp_load_bytes(frame->ctx, at, to, len);
	return bpf_skb_load_bytes(frame->ctx, at, to, len);
}

#define NEAR_MAX 0xffu /* bytes of headers; the verifier wants a bound */

static __always_inline int load(const struct frame *frame, __u32 at, void *to, __u32 len)
{
	void *data = data_of(frame), *end = end_of(frame);
	__u64 near = at;

	if (at > NEAR_MAX)
		return load_anywhere(frame, at, to, len);
	// Old kernels know no bound of what was copied before it was compared.
	if (!__builtin_constant_p(at))
		asm volatile("%0 &= 0xff" : "+r"(near));
	if (data + near + len > end)
		return load_anywhere(frame, at, to, len);
	__builtin_memcpy(to, aligned_at(data + near, at), len);
	return 0;
}

static __always_inline int store(const struct frame *frame, __u32 at, void *from, __u32 len)
{
	if (frame->is_xdp)
		return bpf_xdp_store_bytes(frame->ctx, at, from, len);
	return bpf_skb_store_bytes(frame->ctx, at, from, len, 0);
}

// RFC 1624, equation 3: the checksum of a packet in which `from` has become `to`.
static __always_inline int resum(const struct frame *frame, __u32 at, __be32 from, __be32 to,
				 __u64 flags)
{
	__u16 old;
	__u64 sum;

	if (load(frame, at, &old, sizeof(old)))
		return -1;
	// Of UDP 0 says that there is none (RFC 768).
	if (flags & BPF_F_MARK_MANGLED_0 && !old)
		return 0;
	sum = (__u16)~old + (__u64)(__u32)~from + to;
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	old = ~sum;
	if (flags & BPF_F_MARK_MANGLED_0 && !old)
		old = 0xffff;
	return store(frame, at, &old, sizeof(old));
}

// The checksum of the IPv4 header at `at`.
static __always_inline int sum_of_header(const struct frame *frame, __u32 at, __be32 from,
					 __be32 to)
{
	if (frame->is_xdp)
		return resum(frame, at, from, to, 0);
	return bpf_l3_csum_replace(frame->ctx, at, from, to, sizeof(to));
}

// The same where two bytes have changed.
static __always_inline int sum_of_header_word(const struct frame *frame, __u32 at, __be16 from,
					      __be16 to)
{
	if (frame->is_xdp)
		return resum(frame, at, from, to, 0);
	return bpf_l3_csum_replace(frame->ctx, at, from, to, sizeof(to));
}

// What the NIC has counted of a packet in which words have changed by `by`, and no checksum with them
// (CHECKSUM_COMPLETE; others do not mind).
static __always_inline void sum_of_nic(const struct frame *frame, __wsum by)
{
	if (!frame->is_xdp)
		bpf_csum_update(frame->ctx, by);
}

// The transport's checksum at `at`; `flags` as of bpf_l4_csum_replace.
static __always_inline int sum_of_payload(const struct frame *frame, __u32 at, __be32 from,
					  __be32 to, __u64 flags)
{
	if (frame->is_xdp)
		return resum(frame, at, from, to, flags);
	return bpf_l4_csum_replace(frame->ctx, at, from, to, flags);
}
