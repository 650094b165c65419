// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What of crates/pf-engine/src/tcp.rs the flow cache does itself: segments that take a connection
// on in the ordinary way and lie strictly in its windows. Whatever else comes goes up. As there, numbers
// are kept in their sender's own count: those that he acknowledges are put back into it first.

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_CONTROL (TCP_FIN | TCP_SYN | TCP_RST)
#define TCP_CLASS_FLAGS 0x37 /* these and URG: FLAGS_IN_KEY of the engine */
#define MAX_ACK_WINDOW (0xffffu + 1500) /* PF's MAXACKWINDOW */
#define MAX_SCALE 14 /* RFC 7323, section 2.3 */
#define MAX_SCALED_WINDOW 0xffffu

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_SCALE 3
#define OPTION_SACK 5
#define TIMESTAMPS_LEN 12 /* with two NOPs in front: RFC 7323, appendix A */
#define TIMESTAMPS_BEGIN 0x0101080au
#define SACK_UNKNOWN 1 /* of `sack_at`: options that cannot be read */
#define SACK_EDGES_MAX 8 /* of four blocks: no header has room for more (RFC 2018, section 3) */
#define OPTIONS_MAX 20 /* of two bytes each: no header has more */

// PF's numbers of how far an end is (TCPS_... of BSD's tcp_fsm.h).
enum phase {
	PHASE_CLOSED = 0,
	PHASE_SYN_SENT = 2,
	PHASE_ESTABLISHED = 4,
	PHASE_CLOSING = 7,
	PHASE_FIN_WAIT_2 = 9,
	PHASE_TIME_WAIT = 10,
};

// As the engine's `Peer`.
struct peer {
	__u32 seq_lo;
	__u32 seq_hi;
	__u32 max_win;
	__u8 scale; /* that holds: 0 where one of both ends has none */
	__u8 offers; /* 1 and the scale that its SYN announced, 0 for none */
	__u8 phase;
	__u8 reserved;
};

// What of a segment matters.
struct segment {
	__u32 seq;
	__u32 ack;
	__u32 window;
	__u32 len;
	__u8 flags;
	__u8 offers; /* as of a peer, of an answer to a SYN */
	__u8 sack_at; /* where its blocks begin, from its header on; 0 for none */
	__u8 sack_edges; /* two of each block */
};

// Whether there are timestamps and nothing else, as of most segments.
static __always_inline int has_timestamps_alone(const struct frame *frame, __u32 at, __u32 end)
{
	__be32 begin;

	return end - at == TIMESTAMPS_LEN && !load(frame, at, &begin, sizeof(begin)) &&
	       begin == bpf_htonl(TIMESTAMPS_BEGIN);
}

// Looks at the options of a segment; 0 if they can be read. `start` is where its header begins.
static __always_inline int read_options(const struct frame *frame, __u32 start, __u32 at, __u32 end,
					struct segment *segment)
{
	__u8 kind, len, scale;

	if (has_timestamps_alone(frame, at, end))
		return 0;
	for (int i = 0; i < OPTIONS_MAX; i++) {
		if (at >= end)
			return 0;
		if (load_anywhere(frame, at, &kind, sizeof(kind)))
			return -1;
		if (kind == OPTION_END)
			return 0;
		if (kind == OPTION_NOP) {
			at++;
			continue;
		}
		if (load_anywhere(frame, at + 1, &len, sizeof(len)) || len < 2 || at + len > end)
			return -1;
		if (kind == OPTION_SCALE) {
			if (len != 3 || load_anywhere(frame, at + 2, &scale, sizeof(scale)) ||
			    scale > MAX_SCALE)
				return -1;
			segment->offers = 1 + scale;
		}
		// Checksums go by words: what begins at an odd place is for the engine.
		if (kind == OPTION_SACK) {
			if (segment->sack_at || len < 10 || (len & 7) != 2 || at & 1)
				return -1;
			segment->sack_at = at + 2 - start;
			segment->sack_edges = (len - 2) / sizeof(__u32);
		}
		at += len;
	}
	return -1;
}

static __always_inline int is_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

// What a segment says of the other's window.
static __always_inline void announce(struct peer *destination, __u32 ack, __u32 reach)
{
	if (!is_before(ack + reach, destination->seq_hi))
		destination->seq_hi = ack + (reach ? reach : 1);
}

// Whether it is the answer to a SYN, from somebody who was not heard before; then it is taken.
static __always_inline int answers(struct peer *source, struct peer *destination,
				   const struct segment *segment)
{
	__u32 end = segment->seq + segment->len + 1, window = segment->window, reach;

	if (source->seq_lo || source->phase != PHASE_CLOSED ||
	    destination->phase != PHASE_SYN_SENT || segment->ack != destination->seq_lo + 1)
		return 0;
	if (destination->offers && segment->offers) {
		source->offers = segment->offers;
		source->scale = (segment->offers - 1) & 15;
		destination->scale = (destination->offers - 1) & 15;
		// A SYN's window is not scaled; what is kept is, rounded up.
		window = (window + (1u << source->scale) - 1) >> source->scale;
	} else if (destination->offers) {
		destination->max_win <<= (destination->offers - 1) & 15;
		if (destination->max_win > MAX_SCALED_WINDOW)
			destination->max_win = MAX_SCALED_WINDOW;
		destination->offers = 0;
	}
	reach = destination->max_win << (destination->scale & 15);
	reach = end + (reach ? reach : 1);
	if (source->seq_hi == 1 || !is_before(reach, source->seq_hi))
		source->seq_hi = reach;
	source->seq_lo = end;
	if (window > source->max_win)
		source->max_win = window;
	announce(destination, segment->ack, window << (source->scale & 15));
	source->phase = PHASE_SYN_SENT;
	destination->phase = PHASE_ESTABLISHED;
	return 1;
}

// Whether a segment lies in the windows of ends that were both heard; then they move on.
static __always_inline int slides(struct peer *source, struct peer *destination,
				  const struct segment *segment, __u32 shift)
{
	__u32 seq = segment->seq, data_end = seq + segment->len, ack = segment->ack - shift;
	__u32 end = data_end + !!(segment->flags & TCP_FIN);
	__s32 skew = destination->seq_lo - ack;

	// The engine's signs for somebody who was never heard.
	if (!source->seq_lo || destination->phase < PHASE_SYN_SENT)
		return 0;
	// An RST is exact, give or take one, or acknowledges exactly.
	if (segment->flags & TCP_RST &&
	    (!segment->ack || !ack || (seq - source->seq_lo + 1 > 2 && skew)))
		return 0;
	if (seq == end)
		seq = data_end = end = source->seq_lo;
	if (is_before(source->seq_hi, data_end) ||
	    is_before(seq, source->seq_lo - (destination->max_win << (destination->scale & 15))) ||
	    skew < -(__s32)MAX_ACK_WINDOW ||
	    skew > (__s32)(MAX_ACK_WINDOW << (source->scale & 15)))
		return 0;
	if (segment->window > source->max_win)
		source->max_win = segment->window;
	if (is_before(source->seq_lo, end))
		source->seq_lo = end;
	announce(destination, ack, segment->window << (source->scale & 15));
	if (segment->flags & TCP_FIN && source->phase < PHASE_CLOSING)
		source->phase = PHASE_CLOSING;
	// What the other end sent last was acknowledged: its SYN, or its FIN.
	if (destination->phase == PHASE_SYN_SENT)
		destination->phase = PHASE_ESTABLISHED;
	else if (destination->phase == PHASE_CLOSING)
		destination->phase = PHASE_FIN_WAIT_2;
	if (segment->flags & TCP_RST)
		source->phase = destination->phase = PHASE_TIME_WAIT;
	return 1;
}

// Whether a segment may take an end of the connection on.
static __always_inline int may_take_on(const struct peer *destination,
				       const struct segment *segment)
{
	__u8 phase = *(const volatile __u8 *)&destination->phase;

	return segment->flags & TCP_CONTROL || phase == PHASE_SYN_SENT || phase == PHASE_CLOSING;
}

// Whether a segment that takes an end on is most likely the last but for repeated ones.
static __always_inline int may_end(const struct peer *source, const struct peer *destination,
				   const struct segment *segment)
{
	return segment->flags & TCP_RST ||
	       (*(const volatile __u8 *)&source->phase >= PHASE_FIN_WAIT_2 &&
		*(const volatile __u8 *)&destination->phase >= PHASE_CLOSING);
}

// Whether a segment is taken, which has ACK. What it acknowledges has had `shift` added on the way.
static __always_inline int takes(struct peer *source, struct peer *destination,
				 const struct segment *segment, __u32 shift)
{
	return segment->flags & TCP_SYN ? answers(source, destination, segment) :
					  slides(source, destination, segment, shift);
}
