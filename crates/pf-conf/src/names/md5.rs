//! MD5 (RFC 1321), because PF makes the key of `source-hash` out of a string with it. It keeps
//! nothing secret.

/// Rotations of the four rounds.
const ROTATE: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The digest as four words, each with the first byte of its four on top.
pub(crate) fn words(text: &[u8]) -> [u32; 4] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    let bits = u64::try_from(text.len())
        .unwrap_or_default()
        .wrapping_mul(8);
    padded.extend(bits.to_le_bytes());
    for block in padded.chunks_exact(64) {
        state = mix(state, block);
    }
    state.map(u32::swap_bytes)
}

#[expect(clippy::many_single_char_names, reason = "the RFC's names")]
fn mix(state: [u32; 4], block: &[u8]) -> [u32; 4] {
    let mut message = [0; 16];
    for (word, bytes) in message.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    }
    let [mut a, mut b, mut c, mut d] = state;
    for step in 0..64 {
        let (f, index) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let sum = a
            .wrapping_add(f)
            .wrapping_add(sine(step))
            .wrapping_add(message[index % 16]);
        let rotated = sum.rotate_left(ROTATE[step / 16][step % 4]);
        (a, b, c, d) = (d, b.wrapping_add(rotated), b, c);
    }
    [
        state[0].wrapping_add(a),
        state[1].wrapping_add(b),
        state[2].wrapping_add(c),
        state[3].wrapping_add(d),
    ]
}

/// `floor(2^32 * abs(sin(step + 1)))`, RFC 1321 section 3.4.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the RFC defines the table by this formula; all values fit"
)]
fn sine(step: usize) -> u32 {
    (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn digests_are_those_of_rfc_1321() {
        assert_eq!(
            words(b""),
            [0xd41d_8cd9, 0x8f00_b204, 0xe980_0998, 0xecf8_427e]
        );
        assert_eq!(
            words(b"abc"),
            [0x9001_5098, 0x3cd2_4fb0, 0xd696_3f7d, 0x28e1_7f72]
        );
        let long =
            b"12345678901234567890123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(
            words(long),
            [0x57ed_f4a2, 0x2be3_c955, 0xac49_da2e, 0x2107_b67a]
        );
    }
}
