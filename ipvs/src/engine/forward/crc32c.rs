//! The checksum of SCTP (RFC 9260, appendix A): CRC-32C, bits reflected.

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a byte does to the sum when so many bytes follow it.
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 0 { sum >> 1 } else { (sum >> 1) ^ POLYNOMIAL };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut follow = 1;
    while follow < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[follow - 1][byte];
            tables[follow][byte] = (sum >> 8) ^ tables[0][(sum & 0xff) as usize];
            byte += 1;
        }
        follow += 1;
    }
    tables
}

/// The CRC of some bytes.
pub(super) fn crc32c(data: &[u8]) -> u32 {
    let mut words = data.chunks_exact(8);
    let mut sum = !0_u32;
    for word in words.by_ref() {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        let [a, b, c, d] = sum.to_le_bytes();
        let [e, f, g, h, rest @ ..] = eight;
        let bytes = [a ^ e, b ^ f, c ^ g, d ^ h, rest[0], rest[1], rest[2], rest[3]];
        // A byte is an index within any table.
        sum = bytes
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)]);
    }
    for byte in words.remainder() {
        let [low, ..] = sum.to_le_bytes();
        sum = (sum >> 8) ^ TABLES[0][usize::from(low ^ byte)];
    }
    !sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit.
    fn slowly(data: &[u8]) -> u32 {
        let each_bit = |sum: u32, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ POLYNOMIAL };
        !data.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), each_bit))
    }

    #[test]
    fn examples_of_rfc_3720() {
        // Appendix B.4, which has the bytes as they are sent.
        let ascending: Vec<u8> = (0..32).collect();
        for (data, sent) in [
            (&[0; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&ascending, [0x4e, 0x79, 0xdd, 0x46]),
        ] {
            assert_eq!(crc32c(data).to_le_bytes(), sent);
        }
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_are_as_bit_by_bit(data in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc32c(&data), slowly(&data));
        }
    }
}
