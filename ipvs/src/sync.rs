//! The connection synchronisation protocol of IPVS: how one director tells another of its connections, so that a
//! failover does not reset them. `ip_vs_sync.c` has made it what it is; there is no other specification.
//!
//! Versions 0 and 1, both families, as values without I/O. [`Records`] reads a datagram: what the kernel's backup takes,
//! it takes, and what the kernel drops is a [`Discard`] with its cause. A [`Message`] is written from [`SyncRecord`]s, a
//! [`Batch`] says when it leaves, and [`SendRules`] say which entries are told of, and when.
//!
//! A message of version 1, all numbers in network order:
//!
//! ```text
//!  0  reserved, 0       a message of version 0 has the number of its records here, and a backup of version 0
//!                       ignores what follows
//!  1  sync id
//!  2  size of the message: that of the datagram
//!  4  number of records
//!  5  version, 1
//!  6  spare, 0
//!  8  records, each at a multiple of four; none is padded at the end
//!
//!     record: of IPv4 and of IPv6            option, any number of them, unaligned
//!  0   0  type: bit 0 is IPv6              0  type; bit 0x40: skip it if you do not know it
//!  1   1  protocol                         1  length of its data, not 0
//!  2   2  version (4 bits, 0), size        2  data
//!  4   4  flags
//!  8   8  state                            type  data
//! 10  10  client port                      1     sequence numbers: in {init, delta, previous delta}, out {same}
//! 12  12  virtual port                     2     persistence engine's data, at most 255 bytes
//! 14  14  real port                        3     its name, at most 16 bytes
//! 16  16  firewall mark                    0x45  local endpoint of full NAT: port, address of the record's family
//! 20  20  timeout in seconds
//! 24  24  client address
//! 28  40  virtual address
//! 32  56  real address
//! 36  72  options
//! ```
//!
//! Type 0x45 is Buoy's own: the kernel has no full NAT, and skips what carries that bit. Wherever its length is not 6 or
//! 18, as the family demands, it is somebody else's and is skipped here, too.
//!
//! A message of version 0 is number of records, sync id and size, and then of each record: reserved, protocol, client
//! port, virtual port, real port, client, virtual and real address, flags and state in 16 bits each; where flags say so,
//! sequence numbers follow in the *sender's* byte order. It knows neither IPv6, nor timeouts, marks and options.
//!
//! The kernel changed its mind on some records; here they are what they are since Linux 6.1.191 and 6.12.113: one-packet
//! entries, templates without a client port, and templates in a state that no template has are refused. Where a kernel
//! was built with AH and ESP, it takes records of those protocols, too; they never match a packet, and nobody sends them.

mod batch;
mod decode;
mod discard;
mod due;
mod message;
mod record;
#[cfg(test)]
mod tests;
mod wire;

pub use batch::Batch;
pub use decode::Records;
pub use discard::{Discard, DiscardCounters, EngineName, Extent};
pub use due::{Candidate, Changes, Occasion, PersistMode, Progress, SendRules, Threshold};
pub use message::{Message, NotPushed};
pub use record::{
    CallId, Connection, ConnectionState, Endpoint, Ends, Method, RecordFlags, SequenceShift, Subject,
    SyncRecord, Template, TemplateProtocol, Tuple,
};

/// Of messages. A backup takes both at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V0,
    #[default]
    V1,
}

/// Tells the directors that belong together from others in the same multicast group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(pub u8);

impl SyncId {
    /// A backup with this takes from every master.
    pub const ANY: Self = Self(0);

    /// Whether a backup with this id takes what a master with `theirs` has sent.
    pub fn takes(self, theirs: Self) -> bool {
        self == Self::ANY || self == theirs
    }
}
