//! `engine` in `global_defs`: how Buoy's own engine behaves.

use super::{Block, Form, Keyword, Title, on};
use Form::{Bool, Choice, Int};

pub(super) static ENGINE: Block = Block::words("engine", Title::None, &[WORDS]);

/// As many take 20 GiB. A few more digits by mistake would take what a machine does not have.
const MOST_CONNECTIONS: i64 = 1 << 27;

/// What is there in `net.ipv4.vs` too has its name.
const WORDS: &[Keyword] = &[
    on("connections", Int(1_024, MOST_CONNECTIONS)),
    on("tier", Choice(&["auto", "tc", "portable"])),
    on("toa", Bool),
    on("sloppy_tcp", Bool),
    on("sloppy_sctp", Bool),
    on("secure_tcp", Bool),
    on("pmtu_disc", Bool),
    on("conn_reuse_mode", Int(0, 3)),
    on("expire_quiescent_template", Bool),
];
