//! The checks of real servers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Build;
use super::entry::span_of;
use super::tracking::count;
use crate::config::finding::Code;
use crate::config::plan::{
    Check, CheckSettings, DnsType, HttpCheck, HttpVersion, Page, PagePattern, Probe, ReplyByte, UdpCheck,
};
use crate::config::settings::{self, Located, Pace, RealServer, Seconds, Text, Words};
use crate::control::probe::PatternUnusable;

const SECOND: Duration = Duration::from_secs(1);
const DELAY_LOOP: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HELO_NAME: &str = "smtpchecker.keepalived.org";
const MAX_REPLY: u16 = 255;

/// The server that is checked, and what it and its service say for their checks.
pub(super) struct Checked<'s> {
    pub(super) address: IpAddr,
    /// 0 where only the check itself can say it.
    pub(super) port: u16,
    pub(super) pace: Pace,
    pub(super) service_delay_loop: Option<Seconds>,
    pub(super) alpha: bool,
    pub(super) virtualhost: Option<&'s Text>,
    pub(super) log_all_failures: bool,
    /// A check can reach the server at the address of its service.
    pub(super) by_way_of_service: bool,
}

/// What a kind of check has when nobody says anything.
#[derive(Clone, Copy)]
struct Defaults {
    retry: u32,
    /// `None`: as long as `delay_loop`.
    delay_before_retry: Option<Duration>,
}

const MOST: Defaults = Defaults { retry: 1, delay_before_retry: Some(SECOND) };
const HTTP: Defaults = Defaults { delay_before_retry: Some(Duration::from_secs(3)), ..MOST };
const DNS: Defaults = Defaults { retry: 3, delay_before_retry: None };
const MISC: Defaults = Defaults { retry: 0, ..MOST };

impl Build<'_> {
    /// By kind in the order of the manual, and within a kind in that of the file.
    pub(super) fn checks(&mut self, rs: &RealServer, of: &Checked<'_>) -> Vec<Check> {
        for check in rs.checks() {
            self.retry_beside_fall(check);
            check.host.iter().for_each(|host| self.retry_beside_fall(&host.value));
        }
        let mut checks = Vec::with_capacity(rs.checks().count());
        let mut add = |check: &settings::Check, defaults, settings: Option<CheckSettings>| {
            checks.extend(settings.map(|settings| paced(check, check.pace(), settings, defaults, of)));
        };
        for (list, tls) in [(&rs.http_get, false), (&rs.ssl_get, true)] {
            for check in list {
                add(&check.value, HTTP, self.http(check, tls, of));
            }
        }
        for check in &rs.tcp_check {
            add(&check.value, MOST, self.probe(check, of).map(|probe| CheckSettings::Tcp { probe }));
        }
        for check in &rs.dns_check {
            add(&check.value, DNS, self.dns(check, of));
        }
        for check in &rs.misc_check {
            add(&check.value, MISC, self.misc(&check.value, of));
        }
        for check in &rs.udp_check {
            add(&check.value, MOST, self.udp(check, of));
        }
        for check in &rs.ping_check {
            let probe = self.probe_of(check, &check.value, of, Port::Needless);
            add(&check.value, MOST, probe.map(|probe| CheckSettings::Ping { probe }));
        }
        for check in &rs.file_check {
            add(&check.value, MOST, self.file_check(check));
        }
        for check in &rs.agent_check {
            let send = check.value.send.as_ref().map(|text| Arc::clone(&text.value));
            add(&check.value, MOST, self.probe(check, of).map(|probe| CheckSettings::Agent { probe, send }));
        }
        for check in &rs.smtp_check {
            self.smtp(check, of, &mut checks);
        }
        checks
    }

    fn retry_beside_fall(&mut self, check: &settings::Check) {
        if let (Some(retry), Some(_)) = (&check.retry, check.fall) {
            self.without_effect(retry, "`retry` beside `fall`, which counts the first attempt too");
        }
    }

    fn probe(&mut self, check: &Located<settings::Check>, of: &Checked<'_>) -> Option<Probe> {
        self.probe_of(check, &check.value, of, Port::Needed)
    }

    /// Where a check goes; what it does not say itself `outer` says. `None` after a finding.
    fn probe_of(
        &mut self,
        check: &Located<settings::Check>,
        outer: &settings::Check,
        of: &Checked<'_>,
        needs: Port,
    ) -> Option<Probe> {
        let c = &check.value;
        let check_vip = c.check_vip.or(outer.check_vip).filter(|word| {
            let why = match needs {
                _ if !of.by_way_of_service => {
                    "`check_vip` is for addresses, served by direct routing or tunnels"
                }
                Port::Needless => "`check_vip`: a service takes no echo",
                Port::Needed => return true,
            };
            self.without_effect(word, why);
            false
        });
        let (mut connect_ip, mut mark) = (c.connect_ip.or(outer.connect_ip), c.fwmark.or(outer.fwmark));
        if check_vip.is_some() {
            let message = "beside `check_vip`, which has an address and a mark of its own";
            connect_ip.take().iter().for_each(|word| self.without_effect(word, message));
            mark.take().iter().for_each(|word| self.without_effect(word, message));
        }
        let address = connect_ip.map_or(of.address, |word| word.value);
        let port = port(c.connect_port.or(outer.connect_port)).unwrap_or(of.port);
        if port == 0 && needs == Port::Needed {
            let message = "a check without a port: write `connect_port`";
            self.doubt(Code::MissingSetting, check.span, message, "the check is not made");
            return None;
        }
        let bind_address = c.bindto.or(outer.bindto).filter(|word| {
            let fits = word.value.is_ipv4() == address.is_ipv4();
            if !fits {
                let message = format!("`bindto` is not of the family of {address}, which is checked");
                self.without_effect(word, &message);
            }
            fits
        });
        let bind_interface = c.bind_if.as_ref().or(outer.bind_if.as_ref());
        bind_interface.into_iter().for_each(|name| self.interface(name));
        if bind_interface.is_none() && matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            let message = format!("a check of {address}, which is on every link: write `bind_if`");
            self.doubt(Code::MissingSetting, check.span, &message, "the check is not made");
            return None;
        }
        let timeout = c.pace().within(outer.pace()).within(of.pace).connect_timeout;
        Some(Probe {
            address,
            port,
            bind_address: bind_address.map(|word| word.value),
            bind_port: self::port(c.bind_port.or(outer.bind_port)),
            bind_interface: bind_interface.map(|name| Arc::clone(&name.value)),
            connect_timeout: timeout.map_or(CONNECT_TIMEOUT, |s| s.0),
            mark: count(mark.map(|word| word.value), 0),
            check_vip: check_vip.is_some(),
        })
    }

    fn http(
        &mut self,
        check: &Located<settings::Check>,
        tls: bool,
        of: &Checked<'_>,
    ) -> Option<CheckSettings> {
        let c = &check.value;
        if c.url.is_empty() {
            return None;
        }
        let probe = self.probe(check, of)?;
        if !tls {
            let message = "a word of SSL_GET in HTTP_GET";
            c.enable_sni.iter().for_each(|word| self.without_effect(word, message));
            c.sni_name.iter().for_each(|word| self.without_effect(word, message));
            let compliant = c.url.iter().map(|url| url.tls_compliant).chain([c.tls_compliant]);
            compliant.flatten().for_each(|word| self.without_effect(&word, message));
        }
        self.any_tls |= tls;
        let named = c.sni_name.as_ref().filter(|name| !name.value.is_empty());
        let sni = tls && (c.enable_sni.is_some_and(|word| word.value) || c.sni_name.is_some());
        let mut pages = Vec::with_capacity(c.url.len());
        for url in &c.url {
            let virtualhost = url.virtualhost.as_ref().or(c.virtualhost.as_ref()).or(of.virtualhost);
            let compliant = url.tls_compliant.or(c.tls_compliant).is_some_and(|word| word.value);
            pages.push(Page {
                path: url.path.as_ref().map_or_else(|| Arc::from("/"), shared),
                status_codes: url.status_code.as_ref().map_or_else(|| vec![(200, 299)], status_codes),
                digest: url.digest.as_ref().map(|d| Arc::from(d.value.to_ascii_lowercase())),
                regex: self.pattern(url),
                virtualhost: virtualhost.map(shared),
                server_name: named.or(virtualhost).filter(|_| sni).map(shared),
                tls_compliant: tls && compliant,
            });
        }
        let version = match c.http_protocol.as_ref().map(|w| w.value.to_ascii_uppercase()).as_deref() {
            Some("1.0C") => HttpVersion::Http10Close,
            Some("1.1") => HttpVersion::Http11,
            _ => HttpVersion::Http10,
        };
        Some(CheckSettings::Http(Box::new(HttpCheck {
            probe,
            tls,
            pages,
            version,
            fast_recovery: c.fast_recovery,
        })))
    }

    fn pattern(&mut self, url: &settings::Page) -> Option<PagePattern> {
        let offset = |number: Option<Located<i64>>| number.and_then(|n| u32::try_from(n.value).ok());
        let Some(regex) = &url.regex else {
            let message = "a setting of a `regex`, and there is none";
            url.regex_no_match.iter().for_each(|word| self.without_effect(word, message));
            let options = url.regex_options.as_ref().and_then(|words| words.first());
            options.into_iter().for_each(|word| self.without_effect(word, message));
            let offsets = [url.regex_min_offset, url.regex_max_offset];
            offsets.iter().flatten().for_each(|word| self.without_effect(word, message));
            return None;
        };
        let pattern = PagePattern {
            pattern: Arc::clone(&regex.value),
            no_match: url.regex_no_match.is_some(),
            options: url.regex_options.iter().flatten().map(shared).collect(),
            min_offset: offset(url.regex_min_offset).unwrap_or(0),
            max_offset: offset(url.regex_max_offset),
        };
        if let Err(unusable) = self.patterns.add(&pattern) {
            let mut options = url.regex_options.iter().flatten();
            let word = match &unusable {
                PatternUnusable::Option { name, .. } => options.find(|word| word.value == *name),
                PatternUnusable::Regex { .. } => None,
            };
            let span = word.unwrap_or(regex).span;
            self.doubt(Code::BadValue, span, &unusable.to_string(), "the check is not made");
        }
        Some(pattern)
    }

    /// Every `host` is a check of its own, which says only what differs.
    fn smtp(&mut self, check: &Located<settings::Check>, of: &Checked<'_>, checks: &mut Vec<Check>) {
        let c = &check.value;
        let hosts = if c.host.is_empty() { std::slice::from_ref(check) } else { &c.host };
        for host in hosts {
            let Some(probe) = self.probe_of(host, c, of, Port::Needed) else { continue };
            let helo_name = c.helo_name.as_ref().map_or_else(|| Arc::from(HELO_NAME), shared);
            let settings = CheckSettings::Smtp { probe, helo_name };
            let mut paced = paced(&host.value, host.value.pace().within(c.pace()), settings, MOST, of);
            let own = &host.value;
            paced.alpha = own.alpha.or(c.alpha).unwrap_or(of.alpha);
            paced.log_all_failures =
                own.log_all_failures.or(c.log_all_failures).unwrap_or(of.log_all_failures);
            paced.rise = count(own.rise.or(c.rise), 1);
            paced.retry = of_fall(own.fall.or(c.fall)).unwrap_or(paced.retry);
            checks.push(paced);
        }
    }

    fn dns(&mut self, check: &Located<settings::Check>, of: &Checked<'_>) -> Option<CheckSettings> {
        let probe = self.probe(check, of)?;
        let query = match check.value.query.as_ref().map(|w| w.value.to_ascii_uppercase()).as_deref() {
            Some("A") => DnsType::A,
            Some("NS") => DnsType::Ns,
            Some("CNAME") => DnsType::Cname,
            Some("MX") => DnsType::Mx,
            Some("TXT") => DnsType::Txt,
            Some("AAAA") => DnsType::Aaaa,
            Some("RRSIG") => DnsType::Rrsig,
            Some("DNSKEY") => DnsType::Dnskey,
            _ => DnsType::Soa,
        };
        let name = check.value.name.as_ref().map_or_else(|| Arc::from("."), shared);
        let answer = check.value.answer.as_ref().map(shared);
        Some(CheckSettings::Dns { probe, query, name, answer })
    }

    fn misc(&mut self, c: &settings::Check, of: &Checked<'_>) -> Option<CheckSettings> {
        let command = self.command_of(c.misc_path.as_ref()?, c.user.as_ref())?;
        let written = c.misc_timeout.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        let timeout = written.map(Duration::from_secs).or(of.service_delay_loop.map(|s| s.0));
        Some(CheckSettings::Misc { command, timeout: timeout.unwrap_or(DELAY_LOOP), dynamic: c.misc_dynamic })
    }

    fn udp(&mut self, check: &Located<settings::Check>, of: &Checked<'_>) -> Option<CheckSettings> {
        let c = &check.value;
        let probe = self.probe(check, of)?;
        let payload = c.payload.as_ref().and_then(|words| {
            let bytes = hex(words).filter(|bytes| bytes.iter().all(|byte| byte.mask == 0xff));
            if bytes.is_none() {
                let message = "a payload is of two hexadecimal digits a byte";
                self.warn(Code::BadValue, span_of(words), message, "some text is sent");
                words.iter().take(1).for_each(|word| self.leave_out(word));
            }
            Some(bytes?.iter().map(|byte| byte.value).collect())
        });
        let reply = c.require_reply.as_ref().map(|words| {
            hex(words).unwrap_or_else(|| {
                let message = "an answer is of two hexadecimal digits a byte";
                self.warn(Code::BadValue, span_of(words), message, "any answer will do");
                words.iter().for_each(|word| self.write_instead(word, &[]));
                Vec::new()
            })
        });
        let length = |number: Option<Located<i64>>, default| {
            number.and_then(|n| u16::try_from(n.value).ok()).unwrap_or(default)
        };
        let min = length(c.min_reply_length, 0);
        let mut max = length(c.max_reply_length, MAX_REPLY);
        if min > max {
            let message = format!("no answer is of at least {min} and at most {max} bytes");
            match c.max_reply_length.or(c.min_reply_length) {
                Some(word) if c.max_reply_length.is_some() => {
                    self.warn(Code::Conflict, word.span, &message, &format!("at most {min}"));
                    self.write_instead(&word, &[&min.to_string()]);
                }
                _ => self.doubt(Code::Conflict, check.span, &message, &format!("at most {min}")),
            }
            max = min;
        }
        let (min_reply_length, max_reply_length) = (min, max);
        let udp = UdpCheck { probe, payload, reply, min_reply_length, max_reply_length };
        Some(CheckSettings::Udp(Box::new(udp)))
    }

    fn file_check(&mut self, check: &Located<settings::Check>) -> Option<CheckSettings> {
        let name = check.value.track_file.as_ref()?;
        let Some((weight, reverse)) = self.tracked.file(&name.value) else {
            let message = format!("`track_file {}` cannot be tracked", name.value);
            self.warn(Code::Undefined, name.span, &message, "the check is not made");
            self.leave_out(check);
            return None;
        };
        let own = check.value.weight.as_ref().and_then(|words| {
            let (number, more) = words.split_first()?;
            Some((super::tracking::weight_of(&number.value)?, more.iter().any(|w| &*w.value == "reverse")))
        });
        let (weight, reverse) = own.unwrap_or((weight, reverse));
        Some(CheckSettings::File { track_file: Arc::clone(&name.value), weight, reverse })
    }
}

/// Whether a check goes to a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Needed,
    Needless,
}

fn paced(
    c: &settings::Check,
    pace: Pace,
    settings: CheckSettings,
    defaults: Defaults,
    of: &Checked<'_>,
) -> Check {
    let pace = pace.within(of.pace);
    let delay_loop = pace.delay_loop.map_or(DELAY_LOOP, |s| s.0);
    let pause = pace.delay_before_retry.map(|s| s.0).or(defaults.delay_before_retry);
    Check {
        settings,
        delay_loop,
        retry: of_fall(c.fall).unwrap_or_else(|| count(pace.retry, defaults.retry)),
        delay_before_retry: pause.unwrap_or(delay_loop),
        warmup: pace.warmup.map_or(delay_loop, |s| s.0),
        rise: count(c.rise, 1),
        alpha: c.alpha.unwrap_or(of.alpha),
        log_all_failures: c.log_all_failures.unwrap_or(of.log_all_failures),
    }
}

/// The attempts beside the first one.
fn of_fall(fall: Option<i64>) -> Option<u32> {
    fall.map(|_| count(fall, 1).saturating_sub(1))
}

fn shared(word: &Text) -> Arc<str> {
    Arc::clone(&word.value)
}

fn port(number: Option<i64>) -> Option<u16> {
    number.and_then(|n| u16::try_from(n).ok())
}

/// `N` or `A-B`, any number of them.
fn status_codes(words: &Words) -> Vec<(u16, u16)> {
    let range = |word: &Text| {
        let (from, to) = word.value.split_once('-').unwrap_or((&word.value, &word.value));
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    words.iter().filter_map(range).collect()
}

/// Bytes of two digits each, `x` for any digit; `None` when a digit is left over.
fn hex(words: &Words) -> Option<Vec<ReplyByte>> {
    let digits: Vec<Option<u32>> =
        words.iter().flat_map(|word| word.value.chars()).map(|digit| digit.to_digit(16)).collect();
    let nibble = |digit: Option<u32>| match digit.and_then(|d| u8::try_from(d).ok()) {
        Some(value) => (value, 0xf),
        None => (0, 0),
    };
    let bytes = digits.chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let ((high, high_mask), (low, low_mask)) = (nibble(*high), nibble(*low));
        Some(ReplyByte { value: high << 4 | low, mask: high_mask << 4 | low_mask })
    });
    bytes.collect()
}
