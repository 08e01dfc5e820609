//! Virtual services, their real servers and checks.

use std::net::IpAddr;

use serde::Deserialize;

use super::{Located, Number, Seconds, Text, Words};

/// A switch and where it stands.
type Switch = Located<bool>;

/// `SSL`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ssl {
    pub(crate) password: Option<Text>,
    pub(crate) ca: Option<Text>,
    pub(crate) certificate: Option<Text>,
    pub(crate) key: Option<Text>,
}

/// `virtual_server_group` and `local_address_group`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressGroup {
    pub(crate) name: Text,
    #[serde(rename = "order")]
    pub(crate) _order: u64,
    pub(crate) entries: Vec<Words>,
}

/// What a virtual server, its real servers and their checks say alike: the inner one counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    pub(crate) connect_timeout: Option<Seconds>,
    pub(crate) retry: Option<i64>,
    pub(crate) delay_before_retry: Option<Seconds>,
    pub(crate) warmup: Option<Seconds>,
    pub(crate) delay_loop: Option<Seconds>,
}

impl Pace {
    /// With what the outer block says where this one is silent.
    pub(crate) fn within(self, outer: Self) -> Self {
        Self {
            connect_timeout: self.connect_timeout.or(outer.connect_timeout),
            retry: self.retry.or(outer.retry),
            delay_before_retry: self.delay_before_retry.or(outer.delay_before_retry),
            warmup: self.warmup.or(outer.warmup),
            delay_loop: self.delay_loop.or(outer.delay_loop),
        }
    }
}

/// `virtual_server`, without its real servers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VirtualServer {
    pub(crate) service: Words,
    #[serde(rename = "order")]
    pub(crate) _order: u64,
    pub(crate) ip_family: Option<Text>,
    pub(crate) lb_algo: Option<Text>,
    pub(crate) lvs_sched: Option<Text>,
    pub(crate) lb_kind: Option<Words>,
    pub(crate) lvs_method: Option<Words>,
    pub(crate) protocol: Option<Text>,
    pub(crate) persistence_timeout: Option<Text>,
    pub(crate) persistence_granularity: Option<Text>,
    pub(crate) persistence_engine: Option<Text>,
    pub(crate) ops: Option<Switch>,
    #[serde(rename = "flag-1")]
    pub(crate) flag_1: bool,
    #[serde(rename = "flag-2")]
    pub(crate) flag_2: bool,
    #[serde(rename = "flag-3")]
    pub(crate) flag_3: bool,
    #[serde(rename = "sh-port")]
    pub(crate) sh_port: Option<Switch>,
    #[serde(rename = "sh-fallback")]
    pub(crate) sh_fallback: Option<Switch>,
    #[serde(rename = "mh-port")]
    pub(crate) mh_port: Option<Switch>,
    #[serde(rename = "mh-fallback")]
    pub(crate) mh_fallback: Option<Switch>,
    pub(crate) ha_suspend: Option<Switch>,
    pub(crate) virtualhost: Option<Text>,
    pub(crate) alpha: bool,
    pub(crate) omega: bool,
    pub(crate) quorum: Option<Number>,
    pub(crate) hysteresis: Option<Number>,
    pub(crate) quorum_up: Option<Words>,
    pub(crate) quorum_down: Option<Words>,
    pub(crate) weight: Option<i64>,
    pub(crate) inhibit_on_failure: bool,
    pub(crate) smtp_alert: Option<bool>,
    pub(crate) sorry_server: Option<Words>,
    pub(crate) sorry_server_inhibit: Option<Switch>,
    pub(crate) sorry_server_lvs_method: Option<Words>,
    pub(crate) connect_timeout: Option<Seconds>,
    pub(crate) retry: Option<i64>,
    pub(crate) delay_before_retry: Option<Seconds>,
    pub(crate) warmup: Option<Seconds>,
    pub(crate) delay_loop: Option<Seconds>,
    pub(crate) panic_threshold: Option<i64>,
    pub(crate) drain_deadline: Option<Seconds>,
    pub(crate) laddr_group_name: Option<Text>,
    pub(crate) conn_timeout: Option<Number>,
    pub(crate) conn_timeouts: Option<Words>,
}

impl VirtualServer {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            connect_timeout: self.connect_timeout,
            retry: self.retry,
            delay_before_retry: self.delay_before_retry,
            warmup: self.warmup,
            delay_loop: self.delay_loop,
        }
    }
}

/// `real_server`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RealServer {
    pub(crate) server: Words,
    #[serde(rename = "order")]
    pub(crate) _order: u64,
    pub(crate) weight: Option<i64>,
    pub(crate) lvs_method: Option<Words>,
    pub(crate) lb_kind: Option<Words>,
    pub(crate) uthreshold: Option<i64>,
    pub(crate) lthreshold: Option<Number>,
    pub(crate) inhibit_on_failure: Option<bool>,
    pub(crate) notify_up: Option<Words>,
    pub(crate) notify_down: Option<Words>,
    pub(crate) alpha: Option<bool>,
    pub(crate) smtp_alert: Option<bool>,
    pub(crate) virtualhost: Option<Text>,
    pub(crate) connect_timeout: Option<Seconds>,
    pub(crate) retry: Option<i64>,
    pub(crate) delay_before_retry: Option<Seconds>,
    pub(crate) warmup: Option<Seconds>,
    pub(crate) delay_loop: Option<Seconds>,
    #[serde(rename = "HTTP_GET")]
    pub(crate) http_get: Vec<Located<Check>>,
    #[serde(rename = "SSL_GET")]
    pub(crate) ssl_get: Vec<Located<Check>>,
    #[serde(rename = "TCP_CHECK")]
    pub(crate) tcp_check: Vec<Located<Check>>,
    #[serde(rename = "SMTP_CHECK")]
    pub(crate) smtp_check: Vec<Located<Check>>,
    #[serde(rename = "DNS_CHECK")]
    pub(crate) dns_check: Vec<Located<Check>>,
    #[serde(rename = "MISC_CHECK")]
    pub(crate) misc_check: Vec<Located<Check>>,
    #[serde(rename = "UDP_CHECK")]
    pub(crate) udp_check: Vec<Located<Check>>,
    #[serde(rename = "PING_CHECK")]
    pub(crate) ping_check: Vec<Located<Check>>,
    #[serde(rename = "FILE_CHECK")]
    pub(crate) file_check: Vec<Located<Check>>,
    #[serde(rename = "AGENT_CHECK")]
    pub(crate) agent_check: Vec<Located<Check>>,
}

impl RealServer {
    /// Those of SMTP_CHECK may become more, one for each `host`.
    pub(crate) fn checks(&self) -> impl Iterator<Item = &Check> {
        let lists = [
            &self.http_get,
            &self.ssl_get,
            &self.tcp_check,
            &self.smtp_check,
            &self.dns_check,
            &self.misc_check,
            &self.udp_check,
            &self.ping_check,
            &self.file_check,
            &self.agent_check,
        ];
        lists.into_iter().flatten().map(|check| &check.value)
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            connect_timeout: self.connect_timeout,
            retry: self.retry,
            delay_before_retry: self.delay_before_retry,
            warmup: self.warmup,
            delay_loop: self.delay_loop,
        }
    }
}

/// A checker of any kind; the schema knows which words each kind takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) connect_ip: Option<Located<IpAddr>>,
    pub(crate) connect_port: Option<i64>,
    pub(crate) bindto: Option<Located<IpAddr>>,
    pub(crate) bind_port: Option<i64>,
    pub(crate) bind_if: Option<Text>,
    pub(crate) connect_timeout: Option<Seconds>,
    pub(crate) fwmark: Option<Number>,
    pub(crate) check_vip: Option<Switch>,
    pub(crate) retry: Option<Number>,
    pub(crate) delay_before_retry: Option<Seconds>,
    pub(crate) warmup: Option<Seconds>,
    pub(crate) delay_loop: Option<Seconds>,
    pub(crate) alpha: Option<bool>,
    pub(crate) log_all_failures: Option<bool>,
    pub(crate) rise: Option<i64>,
    pub(crate) fall: Option<i64>,
    // HTTP_GET and SSL_GET.
    pub(crate) virtualhost: Option<Text>,
    pub(crate) http_protocol: Option<Text>,
    pub(crate) enable_sni: Option<Switch>,
    pub(crate) sni_name: Option<Text>,
    pub(crate) fast_recovery: bool,
    pub(crate) tls_compliant: Option<Switch>,
    pub(crate) url: Vec<Page>,
    // SMTP_CHECK.
    pub(crate) helo_name: Option<Text>,
    pub(crate) host: Vec<Located<Check>>,
    // DNS_CHECK.
    #[serde(rename = "type")]
    pub(crate) query: Option<Text>,
    pub(crate) name: Option<Text>,
    pub(crate) answer: Option<Text>,
    // MISC_CHECK.
    pub(crate) misc_path: Option<Words>,
    pub(crate) misc_timeout: Option<i64>,
    pub(crate) misc_dynamic: bool,
    pub(crate) user: Option<Words>,
    // UDP_CHECK.
    pub(crate) payload: Option<Words>,
    pub(crate) require_reply: Option<Words>,
    pub(crate) min_reply_length: Option<Number>,
    pub(crate) max_reply_length: Option<Number>,
    // FILE_CHECK.
    pub(crate) track_file: Option<Text>,
    pub(crate) weight: Option<Words>,
    // AGENT_CHECK.
    pub(crate) send: Option<Text>,
}

impl Check {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            connect_timeout: self.connect_timeout,
            retry: self.retry.map(|number| number.value),
            delay_before_retry: self.delay_before_retry,
            warmup: self.warmup,
            delay_loop: self.delay_loop,
        }
    }
}

/// `url`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) path: Option<Text>,
    pub(crate) digest: Option<Text>,
    pub(crate) status_code: Option<Words>,
    pub(crate) virtualhost: Option<Text>,
    pub(crate) regex: Option<Text>,
    pub(crate) regex_no_match: Option<Switch>,
    pub(crate) regex_options: Option<Words>,
    pub(crate) regex_min_offset: Option<Number>,
    pub(crate) regex_max_offset: Option<Number>,
    pub(crate) tls_compliant: Option<Switch>,
}
