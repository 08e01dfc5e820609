//! Health checks of real servers, and BFD sessions.

use super::global::{SECOND, at_most, number};
use super::vrrp::user;
use super::{Block, Complaint, Form, Keyword, Title, bad, later, many, off, old};
use Form::{Bool, ChoiceAnyCase, Flag, Int, Ip, OptText, Script, Seconds, Text, Texts, Words};

const MAX_U32: i64 = 0xffff_ffff;

/// Defaults that travel from a virtual server to its real servers and their checks.
pub(super) const RETRIES: &[Keyword] = &[
    later("connect_timeout", Seconds(1, 4_294 * SECOND)),
    later("retry", Int(1, MAX_U32)),
    later("delay_before_retry", Seconds(0, 4_294 * SECOND)),
    later("warmup", Seconds(0, 4_294 * SECOND)),
];

pub(super) const CHECKERS: &[Keyword] = &[
    many(later("HTTP_GET", Form::Block(&HTTP_GET))),
    many(later("SSL_GET", Form::Block(&SSL_GET))),
    many(later("TCP_CHECK", Form::Block(&TCP_CHECK))),
    many(later("SMTP_CHECK", Form::Block(&SMTP_CHECK))),
    many(later("DNS_CHECK", Form::Block(&DNS_CHECK))),
    many(later("MISC_CHECK", Form::Block(&MISC_CHECK))),
    many(later("UDP_CHECK", Form::Block(&UDP_CHECK))),
    many(later("PING_CHECK", Form::Block(&PING_CHECK))),
    many(later("FILE_CHECK", Form::Block(&FILE_CHECK))),
    many(later("BFD_CHECK", Form::Block(&BFD_CHECK))),
    // Buoy's own.
    many(later("AGENT_CHECK", Form::Block(&AGENT_CHECK))),
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
    &[&[later("track_file", Text), later("weight", Form::Weight(0x7fff_ffff))]],
);
static BFD_CHECK: Block =
    Block::words("BFD_CHECK", Title::None, &[&[later("name", Text), later("alpha", Bool)]]);
static AGENT_CHECK: Block =
    Block::words("AGENT_CHECK", Title::None, &[CONNECT, EVERY, &[later("send", Text)]]);
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
    later("connect_ip", Ip),
    later("connect_port", Int(1, 65_535)),
    later("bindto", Ip),
    later("bind_port", Int(1, 65_535)),
    later("bind_if", Text),
    later("connect_timeout", Seconds(1, 4_294 * SECOND)),
    later("fwmark", Int(0, MAX_U32)),
    // Buoy's own.
    later("check_vip", Flag),
];

const EVERY: &[Keyword] = &[
    later("retry", Int(0, MAX_U32)),
    later("delay_before_retry", Seconds(0, 4_294 * SECOND)),
    later("warmup", Seconds(0, 4_294 * SECOND)),
    later("delay_loop", Seconds(1, 4_294 * SECOND)),
    later("alpha", Bool),
    later("log_all_failures", Bool),
    // Buoy's own.
    later("rise", Int(1, MAX_U32)),
    later("fall", Int(1, MAX_U32)),
];

const HTTP: &[Keyword] = &[
    old(later("nb_get_retry", Int(0, MAX_U32)), "retry"),
    later("virtualhost", Text),
    later("http_protocol", ChoiceAnyCase(&["1.0", "1.0C", "1.1"])),
    later("enable_sni", Bool),
    later("sni_name", OptText),
    later("fast_recovery", Bool),
    later("tls_compliant", Bool),
    many(later("url", Form::Block(&URL))),
];

const PAGE: &[Keyword] = &[
    later("path", Text),
    later("digest", Words(digest)),
    later("status_code", Words(status_codes)),
    later("virtualhost", Text),
    later("regex", Text),
    later("regex_no_match", Flag),
    later("regex_options", Texts),
    later("regex_min_offset", Int(0, MAX_U32)),
    later("regex_max_offset", Int(0, MAX_U32)),
    later("regex_stack", Words(two_numbers)),
    later("tls_compliant", Bool),
];

const SMTP: &[Keyword] =
    &[later("helo_name", Text), many(old(later("host", Form::Block(&HOST)), "a check for each host"))];

const DNS: &[Keyword] = &[
    later("type", ChoiceAnyCase(&["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"])),
    later("name", Text),
];

const MISC: &[Keyword] = &[
    later("misc_path", Script),
    later("misc_timeout", Int(0, 4_294)),
    later("misc_dynamic", Flag),
    later("user", Words(user)),
];

const UDP: &[Keyword] = &[
    later("payload", Words(hex)),
    later("require_reply", Form::OptWords(hex)),
    later("min_reply_length", Int(0, 65_535)),
    later("max_reply_length", Int(0, 65_535)),
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
