//! The hashes that Linux's schedulers use, and one of our own. Directors with the same servers in the same order hash
//! alike.

/// Multiplicative hash of so many bits (Knuth; the factor is that of the golden ratio).
///
/// `bits` is from 1 to 32.
pub(super) const fn hash_32(value: u32, bits: u32) -> u32 {
    value.wrapping_mul(0x61c8_8647) >> (32 - bits)
}

/// The lower half of SipHash-1-3 of a number's four bytes, least significant first, as 64-bit kernels have it. Those of
/// 32 bits hash otherwise.
pub(super) const fn siphash_1_3(value: u32, key: u64) -> u32 {
    let mut state = [
        key ^ 0x736f_6d65_7073_6575,
        key ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        key ^ 0x7465_6462_7974_6573,
    ];
    // The last word of a message has its length in the highest byte: this one is all there is.
    let word = 4 << 56 | value as u64;
    state[3] ^= word;
    state = sip_round(state);
    state[0] ^= word;
    state[2] ^= 0xff;
    let [a, b, c, d] = sip_round(sip_round(sip_round(state)));
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let lower = (a ^ b ^ c ^ d) as u32;
    lower
}

const fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

/// Spreads a number over 64 bits (the finalizer of SplitMix64).
pub(super) const fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_kernel() {
        let bucket = |address: [u8; 4]| hash_32(u32::from_be_bytes(address), 8);
        assert_eq!([bucket([10, 9, 0, 1]), bucket([192, 0, 2, 1]), bucket([10, 1, 0, 9])], [224, 50, 188]);
        assert_eq!(hash_32(0x2001_0db9, 8), 63);
        let client = u32::from_be_bytes([10, 1, 0, 9]);
        assert_eq!(siphash_1_3(client, 2_654_435_761), 0xc24c_a74b);
        assert_eq!(siphash_1_3(client, 2_654_446_892), 0x5326_bfda);
        assert_eq!(siphash_1_3(client + 3001, 2_654_435_761), 0x462a_75b1);
        assert_eq!(siphash_1_3(0x2001_0db9, 2_654_435_761), 0xcdc3_f189);
    }
}
