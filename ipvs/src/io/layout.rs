//! Structures that programs and user space share, byte by byte. Where a field begins is a constant that both use.

use crate::engine::address::Address;
use crate::virtual_service::Family;

/// Where a field of so many bytes begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<const N: usize>(pub(super) usize);

impl<const N: usize> Field<N> {
    /// Does nothing beyond the end of `bytes`.
    pub(super) fn put(self, bytes: &mut [u8], value: [u8; N]) {
        if let Some(place) = bytes.get_mut(self.0..).and_then(|rest| rest.first_chunk_mut::<N>()) {
            *place = value;
        }
    }

    /// Zeros beyond the end of `bytes`.
    pub(super) fn of(self, bytes: &[u8]) -> [u8; N] {
        bytes.get(self.0..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
    }

    /// As an instruction has it.
    pub(super) const fn offset(self) -> i16 {
        // Structures have less than a hundred bytes.
        self.0 as i16
    }
}

/// In 16 bytes, IPv4 mapped into IPv6.
pub(super) fn address_bytes(address: Address) -> [u8; 16] {
    address.bits().to_be_bytes()
}

pub(super) fn address_of(bytes: [u8; 16]) -> Address {
    Address::v6(u128::from_be_bytes(bytes))
}

/// What stands before an IPv4 address in 16 bytes.
pub(super) const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

const _: () = assert!(matches!(Address::v4(0).family(), Family::V4) && Address::v4(0).bits() == 0xffff << 32);
