//! Health checks of real servers, and BFD sessions.

use super::global::{SECOND, at_most, number};
use super::vrrp::user;
use super::{Block, Complaint, Form, Keyword, Title, bad, many, moot, off, old, on};
use Form::{Bool, ChoiceAnyCase, Flag, Int, Ip, OptText, Script, Seconds, Text, Texts, Words};

const MAX_U32: i64 = 0xffff_ffff;

/// Defaults that travel from a virtual server to its real servers and their checks.
pub(super) const RETRIES: &[Keyword] = &[
    on("connect_timeout", Seconds(1, 4_294 * SECOND)),
    on("retry", Int(1, MAX_U32)),
    on("delay_before_retry", Seconds(0, 4_294 * SECOND)),
    on("warmup", Seconds(0, 4_294 * SECOND)),
];

pub(super) const CHECKERS: &[Keyword] = &[
    many(on("HTTP_GET", Form::Block(&HTTP_GET))),
    many(on("SSL_GET", Form::Block(&SSL_GET))),
    many(on("TCP_CHECK", Form::Block(&TCP_CHECK))),
    many(on("SMTP_CHECK", Form::Block(&SMTP_CHECK))),
    many(on("DNS_CHECK", Form::Block(&DNS_CHECK))),
    many(on("MISC_CHECK", Form::Block(&MISC_CHECK))),
    many(on("UDP_CHECK", Form::Block(&UDP_CHECK))),
    many(on("PING_CHECK", Form::Block(&PING_CHECK))),
    many(on("FILE_CHECK", Form::Block(&FILE_CHECK))),
    many(off("BFD_CHECK", Form::Block(&BFD_CHECK))),
    // Buoy's own.
    many(on("AGENT_CHECK", Form::Block(&AGENT_CHECK))),
];

static HTTP_GET: Block = Block::words("HTTP_GET", Title::None, &[CONNECT, EVERY, HTTP]);
static SSL_GET: Block = Block::words("SSL_GET", Title::None, &[CONNECT, EVERY, HTTP]);
static TCP_CHECK: Block = Block::words("TCP_CHECK", Title::None, &[CONNECT, EVERY]);
static SMTP_CHECK: Block = Block::words("SMTP_CHECK", Title::None, &[CONNECT, EVERY, SMTP]);
static DNS_CHECK: Block = Block::words("DNS_CHECK", Title::None, &[CONNECT, EVERY, DNS]);
static MISC_CHECK: Block = Block::words("MISC_CHECK", Title::None, &[EVERY, MISC]);
static UDP_CHECK: Block = Block::words("UDP_CHECK", Title::None, &[CONNECT, EVERY, UDP]);
static PING_CHECK: Block = Block::words("PING_CHECK", Title::None, &[CONNECT, EVERY]);
static FILE_CHECK: Block = Block::words(
    "FILE_CHECK",
    Title::None,
    &[&[on("track_file", Text), on("weight", Form::Weight(0x7fff_ffff))]],
);
static BFD_CHECK: Block = Block::words("BFD_CHECK", Title::None, &[&[off("name", Text), off("alpha", Bool)]]);
static AGENT_CHECK: Block = Block::words("AGENT_CHECK", Title::None, &[CONNECT, EVERY, &[on("send", Text)]]);
static URL: Block = Block::words("url", Title::None, &[PAGE]);
static HOST: Block = Block::words("host", Title::None, &[CONNECT, EVERY]);

pub(super) static BFD_INSTANCE: Block = Block::words(
    "bfd_instance",
    Title::Name,
    &[&[
        off("neighbor_ip", Ip),
        off("neighbour_ip", Ip),
        off("source_ip", Ip),
        off("min_rx", Seconds(SECOND, 4_294_967 * SECOND)),
        off("min_tx", Seconds(SECOND, 4_294_967 * SECOND)),
        off("idle_tx", Seconds(1_000 * SECOND, 4_294_967 * SECOND)),
        off("multiplier", Int(1, 255)),
        off("passive", Flag),
        off("ttl", Int(1, 255)),
        off("hoplimit", Int(1, 255)),
        off("max_hops", Int(-1, 255)),
        off("multihop", Bool),
        off("weight", Form::Weight(253)),
        off("vrrp", Flag),
        off("checker", Flag),
    ]],
);

const CONNECT: &[Keyword] = &[
    on("connect_ip", Ip),
    on("connect_port", Int(1, 65_535)),
    on("bindto", Ip),
    on("bind_port", Int(1, 65_535)),
    on("bind_if", Text),
    on("connect_timeout", Seconds(1, 4_294 * SECOND)),
    on("fwmark", Int(0, MAX_U32)),
    // Buoy's own.
    on("check_vip", Flag),
];

const EVERY: &[Keyword] = &[
    on("retry", Int(0, MAX_U32)),
    on("delay_before_retry", Seconds(0, 4_294 * SECOND)),
    on("warmup", Seconds(0, 4_294 * SECOND)),
    on("delay_loop", Seconds(1, 4_294 * SECOND)),
    on("alpha", Bool),
    on("log_all_failures", Bool),
    // Buoy's own.
    on("rise", Int(1, MAX_U32)),
    on("fall", Int(1, MAX_U32)),
];

const HTTP: &[Keyword] = &[
    old(on("nb_get_retry", Int(0, MAX_U32)), "retry"),
    on("virtualhost", Text),
    on("http_protocol", ChoiceAnyCase(&["1.0", "1.0C", "1.1"])),
    on("enable_sni", Bool),
    on("sni_name", OptText),
    on("fast_recovery", Bool),
    on("tls_compliant", Bool),
    many(on("url", Form::Block(&URL))),
];

const PAGE: &[Keyword] = &[
    on("path", Text),
    on("digest", Words(digest)),
    on("status_code", Words(status_codes)),
    on("virtualhost", Text),
    on("regex", Text),
    on("regex_no_match", Flag),
    on("regex_options", Texts),
    on("regex_min_offset", Int(0, MAX_U32)),
    on("regex_max_offset", Int(0, MAX_U32)),
    moot("regex_stack", Words(two_numbers), "patterns need no stack of a given size"),
    on("tls_compliant", Bool),
];

const SMTP: &[Keyword] =
    &[on("helo_name", Text), many(old(on("host", Form::Block(&HOST)), "a check for each host"))];

const DNS: &[Keyword] = &[
    on("type", ChoiceAnyCase(&["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"])),
    on("name", Text),
    // Buoy's own.
    on("answer", Text),
];

const MISC: &[Keyword] = &[
    on("misc_path", Script),
    on("misc_timeout", Int(0, 4_294)),
    on("misc_dynamic", Flag),
    on("user", Words(user)),
];

const UDP: &[Keyword] = &[
    on("payload", Words(hex)),
    on("require_reply", Form::OptWords(hex)),
    on("min_reply_length", Int(0, 65_535)),
    on("max_reply_length", Int(0, 65_535)),
];

fn digest(words: &[&str]) -> Result<(), Complaint> {
    let word = words.first().copied().unwrap_or_default();
    if word.len() != 32 || !word.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad(0, format!("`{word}` is not the 32 hex digits of an MD5 sum")));
    }
    at_most(words, 1)
}

fn status_codes(words: &[&str]) -> Result<(), Complaint> {
    for (at, word) in words.iter().enumerate() {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        let from = number(&[from], 0, 100, 599).map_err(|complaint| Complaint { at, ..complaint })?;
        number(&[to], 0, from, 599).map_err(|complaint| Complaint { at, ..complaint })?;
    }
    Ok(())
}

fn two_numbers(words: &[&str]) -> Result<(), Complaint> {
    let first = number(words, 0, 1, MAX_U32)?;
    number(words, 1, first, MAX_U32)?;
    at_most(words, 2)
}

/// Hex digits, `x` for any digit, in any number of words.
fn hex(words: &[&str]) -> Result<(), Complaint> {
    for (at, word) in words.iter().enumerate() {
        if !word.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'x' | b'X')) {
            return Err(bad(at, format!("`{word}` is not hexadecimal")));
        }
    }
    Ok(())
}
