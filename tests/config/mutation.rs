//! Damage to configuration files, the same for the same seed, and never harmless.

/// One damaged file.
pub(crate) struct Mutation {
    pub(crate) text: String,
    /// Number of the file that was damaged.
    pub(crate) file: usize,
    /// What was done to it.
    pub(crate) what: String,
}

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let n = u64::try_from(n.max(1)).expect("a small number");
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n).expect("below n")
    }
}

/// Words that may also stand alone, or whose value may be anything.
const FREE: [&str; 17] = [
    "smtp_alert",
    "smtp_alert_vrrp",
    "lower_prio_no_advert",
    "make_before_break",
    "dynamic_interfaces",
    "timer_expired_backup",
    "notify_deleted",
    "old_unicast_checksum",
    "require_reply",
    "param_match",
    "router_id",
    "persistence_timeout",
    "PING_CHECK",
    "reload_file",
    "use_vmac",
    "init_file",
    "lvs_sync_daemon",
];

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Anything but the inside of lists.
    Structure,
    /// An entry of a list: an address, a route, a rule, a peer, a tracker, a member.
    Entry,
}

impl Mutation {
    pub(crate) fn new(seed: u64, target: Target, files: &[String], keywords: &str) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..100 {
            random.below(2);
        }
        loop {
            let file = random.below(files.len());
            let mut lines: Vec<String> = files[file].lines().map(str::to_owned).collect();
            let damage = match target {
                Target::Structure => mutate(random.below(11), &mut lines, keywords, &mut random),
                Target::Entry => damage_entry(random.below(9), &mut lines, &mut random),
            };
            if let Some(what) = damage {
                return Self { text: lines.join("\n") + "\n", file, what };
            }
        }
    }
}

/// The text without comments, indented by depth: damage to a comment would be harmless, and whoever damages a file
/// wants to know where a block ends.
pub(crate) fn tidy(text: &str) -> String {
    let mut depth = 0;
    let mut out = String::new();
    for line in text.lines() {
        let line = if line.contains('"') { line } else { line.split(['#', '!']).next().unwrap_or_default() };
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        depth -= usize::from(words == ["}"] && depth > 0);
        out.push_str(&"    ".repeat(depth));
        out.push_str(&words.join(" "));
        out.push('\n');
        depth += usize::from(words.last() == Some(&"{"));
    }
    out
}

/// A statement: a keyword of a block that is not a list, with its words.
fn is_statement(line: &str, keywords: &str) -> bool {
    let Some(first) = line.split_whitespace().next() else { return false };
    keywords.lines().any(|row| {
        let mut columns = row.split('\t');
        let (block, word) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
        let list = ["routes", "rules", "ipaddress", "(preprocessor)", "unicast_peer"]
            .iter()
            .any(|l| block.contains(l));
        word == first && !list
    })
}

fn mutate(kind: usize, lines: &mut Vec<String>, keywords: &str, random: &mut Random) -> Option<String> {
    let meant = |line: &String| !line.trim().is_empty() && !line.trim().starts_with(['#', '$', '@', '~']);
    let at = random.below(lines.len());
    let line = lines[at].clone();
    let words: Vec<&str> = line.split_whitespace().collect();
    let statement = is_statement(&line, keywords);
    let free = words.first().is_some_and(|w| FREE.contains(w));
    let braces = line.contains(['{', '}']);
    let what = match kind {
        0 if line.trim() == "}" => {
            lines.remove(at);
            "a closing brace deleted"
        }
        1 if line.ends_with(" {") => {
            lines[at] = line.trim_end_matches(" {").to_owned();
            "an opening brace deleted"
        }
        2 if statement && words[0].len() > 3 => {
            let inside = 1 + random.below(words[0].len() - 2);
            let typo = format!("{}z{}", &words[0][..inside], &words[0][inside..]);
            lines[at] = line.replacen(words[0], &typo, 1);
            "a keyword mistyped"
        }
        3 if meant(&line) && !braces && !free && words.last().is_some_and(|w| w.parse::<f64>().is_ok()) => {
            let last = words.last().expect("a last word");
            lines[at] = format!("{}99999999999999", line.trim_end().strip_suffix(last)?);
            "a number out of range"
        }
        4 if statement && !free && !braces && words.len() == 2 => {
            lines[at] = words[0].to_owned();
            "a value dropped"
        }
        5 if statement && !braces && words.len() >= 2 => {
            lines[at] = format!("{} {}", words[1], words[0]);
            "two words swapped"
        }
        6 if line.starts_with("    ") && meant(&line) => {
            lines.truncate(at + 1);
            "the file cut off inside a block"
        }
        7 if line.ends_with('{') && !line.starts_with(' ') && words.len() > 2 => {
            let end = at + lines[at..].iter().position(|l| l == "}")?;
            let copy: Vec<String> = lines[at..=end].to_vec();
            lines.splice(end + 1..end + 1, copy);
            "a block duplicated"
        }
        8 if line.starts_with(' ') && meant(&line) && !braces && words[0] != "alert_webhook" => {
            lines.insert(at, line.clone());
            "a line duplicated"
        }
        // A mail address may be any word.
        9 if line.ends_with('{') && words[0] != "notification_email" => {
            lines.insert(at + 1, "    no_such_word here".to_owned());
            "an unknown word inserted"
        }
        10 if statement && !braces && !line.contains('"') => {
            lines[at] = format!("{line} \"");
            "a quote left open"
        }
        _ => return None,
    };
    Some(format!("line {}, {what}: `{line}`", at + 1))
}

/// Blocks whose lines are entries.
const LISTS: [&str; 17] = [
    "virtual_ipaddress {",
    "virtual_ipaddress_excluded {",
    "virtual_routes {",
    "virtual_rules {",
    "static_ipaddress {",
    "static_routes {",
    "static_rules {",
    "unicast_peer {",
    "track_interface {",
    "track_script {",
    "track_file {",
    "track_process {",
    "interface_up_down_delays {",
    "interfaces {",
    "group {",
    "virtual_server_group",
    "garp_group",
];

/// Words of entries that are followed by a value.
const VALUED: [&str; 38] = [
    "dev",
    "brd",
    "scope",
    "label",
    "peer",
    "preferred_lft",
    "src",
    "via",
    "gw",
    "or",
    "table",
    "lookup",
    "metric",
    "mtu",
    "rtt",
    "features",
    "quickack",
    "weight",
    "mpls",
    "id",
    "dst",
    "ttl",
    "from",
    "to",
    "preference",
    "priority",
    "order",
    "fwmark",
    "iif",
    "oif",
    "uidrange",
    "ipproto",
    "dport",
    "goto",
    "min_ttl",
    "max_ttl",
    "protocol",
    "track_group",
];

/// Options whose value may be anything.
const ANY_VALUE: [&str; 2] = ["label", "congctl"];

/// Whether the line at `at` is an entry: the block that it stands in, by its indentation, is a list.
fn is_entry(lines: &[String], at: usize) -> bool {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let line = &lines[at];
    let opener =
        lines[..at].iter().rev().find(|above| depth(above) < depth(line) && !above.trim().is_empty());
    let in_list = opener.is_some_and(|opener| {
        opener.ends_with('{') && LISTS.iter().any(|list| opener.trim().starts_with(list))
    });
    in_list && !line.contains(['{', '}', '"', '$', '~', '@', '#'])
}

fn damage_entry(kind: usize, lines: &mut Vec<String>, random: &mut Random) -> Option<String> {
    let at = random.below(lines.len());
    if !is_entry(lines, at) {
        return None;
    }
    let line = lines[at].clone();
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let chosen = random.below(words.len());
    let word = words[chosen].clone();
    let before = chosen.checked_sub(1).map(|at| words[at].clone()).unwrap_or_default();
    let what = match kind {
        0 if !ANY_VALUE.contains(&before.as_str()) => {
            let inside = 1 + random.below(word.len() - 1);
            words[chosen].insert(inside, 'z');
            "a word mistyped"
        }
        1 if VALUED.contains(&before.as_str()) => {
            words.remove(chosen);
            "a value dropped"
        }
        2 if VALUED.contains(&word.as_str()) && word != "to" => {
            words.remove(chosen);
            "an option dropped before its value"
        }
        // The identity of a tunnel has 64 bits.
        3 if word.parse::<i64>().is_ok() && before != "id" && !ANY_VALUE.contains(&before.as_str()) => {
            words[chosen].push_str("99999999999999");
            "a number out of range"
        }
        // The family of a gateway may stand in front of `via` as well.
        4 if VALUED.contains(&before.as_str())
            && !word.starts_with("inet")
            && !ANY_VALUE.contains(&before.as_str()) =>
        {
            words.swap(chosen - 1, chosen);
            "an option and its value swapped"
        }
        5 => {
            words.push("bogus".to_owned());
            "a word appended"
        }
        6 if word.split('/').next()?.parse::<std::net::Ipv4Addr>().is_ok() => {
            words[chosen] = word.replacen('.', ".9999", 1);
            "an address damaged"
        }
        7 if ["via", "src", "gw"].contains(&before.as_str())
            && !line.contains("default")
            && word.parse::<std::net::Ipv4Addr>().is_ok() =>
        {
            words[chosen] = "2001:db8::7".to_owned();
            "an address of the other family"
        }
        8 => {
            lines.insert(at, line.clone());
            "an entry duplicated"
        }
        _ => return None,
    };
    if kind != 8 {
        let indent = line.len() - line.trim_start().len();
        lines[at] = format!("{}{}", " ".repeat(indent), words.join(" "));
    }
    Some(format!("line {}, {what}: `{line}` is now `{}`", at + 1, lines[at]))
}
