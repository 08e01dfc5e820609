//! `global_defs` and the words of the root.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::command::impossible_name;
use super::tracking::count;
use super::{Build, ScriptUser};
use crate::config::finding::Code;
use crate::config::plan::{Fifo, Global, LogFormat, Mail, RxBuffer, Scheduling, Timed, Webhook};
use crate::config::settings::{self, Settings, Text, Words};
use crate::config::value;

/// Files that Buoy and its scripts create are theirs alone.
const UMASK: u32 = 0o177;

impl Build<'_> {
    pub(super) fn global(&mut self, settings: &Settings) -> Global {
        let g = &settings.global_defs;
        let host = host_name();
        self.without_their_setting(g);
        let router_id = g.router_id.as_ref().map_or_else(|| Arc::from(host.as_str()), text);
        Global {
            mail: self.mail(g, &host),
            router_id,
            net_namespace: settings.net_namespace.as_ref().map(text),
            instance: settings.instance.as_ref().map(text),
            use_pid_dir: settings.use_pid_dir,
            notify_fifo: self.fifo(g.notify_fifo.as_ref(), g.notify_fifo_script.as_ref()),
            vrrp_notify_fifo: self.specific_fifo(
                "vrrp_notify_fifo",
                g.vrrp_notify_fifo.as_ref(),
                g.vrrp_notify_fifo_script.as_ref(),
                g.notify_fifo.as_ref(),
            ),
            fifo_write_states_on_reload: g.fifo_write_vrrp_states_on_reload,
            startup_script: self.timed(g.startup_script.as_ref(), g.startup_script_timeout.map(|t| t.value)),
            shutdown_script: self
                .timed(g.shutdown_script.as_ref(), g.shutdown_script_timeout.map(|t| t.value)),
            script_user: match &self.script_user {
                ScriptUser::Set(user) => Some(user.clone()),
                ScriptUser::Unset | ScriptUser::Missing => None,
            },
            enable_script_security: g.enable_script_security,
            disable_local_igmp: g.disable_local_igmp,
            dynamic_interfaces: g.dynamic_interfaces.is_some(),
            default_interface: g.default_interface.as_ref().map(text),
            startup_delay: span(g.vrrp_startup_delay),
            delay_after_boot: span(g.vrrp_delay_after_boot),
            log_unknown_vrids: g.log_unknown_vrids,
            garp_interval: span(g.vrrp_garp_interval),
            gna_interval: span(g.vrrp_gna_interval),
            garp_extra_if: g.vrrp_garp_extra_if.as_ref().and_then(extra_if),
            vmac_prefix: g.vmac_prefix.as_ref().map_or_else(|| Arc::from("vrrp"), text),
            vmac_addr_prefix: g
                .vmac_addr_prefix
                .as_ref()
                .or(g.vmac_prefix.as_ref())
                .map_or_else(|| Arc::from("vrrp"), text),
            scheduling: Scheduling {
                nice: g.vrrp_priority.and_then(|n| i8::try_from(n).ok()),
                rt_priority: g.vrrp_rt_priority.and_then(|n| u8::try_from(n).ok()),
                no_swap: g.vrrp_no_swap,
                cpu_affinity: processors(g.vrrp_cpu_affinity.as_ref()),
            },
            umask: g.umask.as_ref().map_or(UMASK, |word| self.umask(word)),
            child_wait_time: Duration::from_secs(count(settings.child_wait_time.map(|t| t.value), 5).into()),
            reload_check_config: path_or(g.reload_check_config.as_ref(), "/dev/null"),
            config_save_dir: g.config_save_dir.as_ref().map(|w| PathBuf::from(&*w.value)),
            reload_file: path_or(g.reload_file.as_ref(), "/run/buoy.reload"),
            rx_buffer: rx_buffer(g),
            alert_webhook: g.alert_webhook.iter().filter_map(webhook).collect(),
            config_strict: g.config_strict == Some(true),
            log_format: match g.log_format.as_ref().map(|w| w.value.to_ascii_lowercase()).as_deref() {
                Some("json") => LogFormat::Json,
                Some("journald") => LogFormat::Journald,
                Some(_) => LogFormat::Human,
                None => LogFormat::Automatic,
            },
        }
    }

    /// Settings of something that is not configured.
    fn without_their_setting(&mut self, g: &settings::Global) {
        for (script, timeout, message) in [
            (&g.startup_script, g.startup_script_timeout, "a timeout without `startup_script`"),
            (&g.shutdown_script, g.shutdown_script_timeout, "a timeout without `shutdown_script`"),
        ] {
            if let Some(timeout) = timeout.filter(|_| script.is_none()) {
                self.without_effect(&timeout, message);
            }
        }
        let policy = g.vrrp_rx_bufs_policy.as_ref().and_then(|words| words.first());
        let multiplied = |word: &Text| word.value.parse::<u32>().is_err();
        if let Some(multiplier) = g.vrrp_rx_bufs_multiplier.filter(|_| !policy.is_some_and(multiplied)) {
            self.without_effect(&multiplier, "`vrrp_rx_bufs_multiplier` without a policy that it multiplies");
        }
        if let Some(word) = g.v3_checksum_as_v2.as_ref() {
            let off = |word: &&Text| value::boolean(&word.value) == Some(false);
            if let Some(value) = word.value.first().filter(off) {
                self.taken_for_on(value);
                self.write_instead(value, &[]);
            }
        }
        let processors = Path::new("/sys/devices/system/cpu");
        for word in g
            .vrrp_cpu_affinity
            .iter()
            .chain(&g.checker_cpu_affinity)
            .flatten()
            .filter(|_| processors.is_dir())
        {
            if !processors.join(format!("cpu{}", word.value)).exists() {
                let message = format!("this machine has no processor {}", word.value);
                self.doubt(Code::OutOfRange, word.span, &message, "it is asked for all the same");
            }
        }
    }

    /// The FIFO of one part alone is of no use where it is that of everything. `word` is the setting that names it.
    pub(super) fn specific_fifo(
        &mut self,
        word: &str,
        path: Option<&Words>,
        script: Option<&Words>,
        general: Option<&Words>,
    ) -> Option<Fifo> {
        let own = path.and_then(|words| words.first());
        let general = general.and_then(|words| words.first());
        if let Some(own) = own.filter(|own| general.is_some_and(|general| general.value == own.value)) {
            self.without_effect(own, &format!("`{word}` is `notify_fifo` as well"));
            script.iter().filter_map(|script| script.first()).for_each(|script| self.leave_out(script));
            return None;
        }
        self.fifo(path, script)
    }

    fn mail(&mut self, g: &settings::Global, host: &str) -> Mail {
        let server = g.smtp_server.as_ref().and_then(|words| {
            let port = words.get(1).and_then(|w| w.value.parse().ok()).unwrap_or(25);
            Some((Arc::clone(&words.first()?.value), port))
        });
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let mut timeout = g.smtp_connect_timeout.map_or(Duration::from_secs(30), |t| t.value.0);
        let least = Duration::from_secs(1);
        if let Some(word) = g.smtp_connect_timeout.filter(|word| word.value.0 < least) {
            self.warn(Code::OutOfRange, word.span, "a timeout of less than a second", "1 second");
            self.write_instead(&word, &["1"]);
            timeout = least;
        }
        let mut to: Vec<Arc<str>> = Vec::new();
        for word in &g.notification_email {
            if to.contains(&word.value) {
                let message = format!("`{}` gets the mails already", word.value);
                self.warn(Code::Duplicate, word.span, &message, "it gets each of them once");
                self.write_instead(word, &[]);
            } else {
                to.push(Arc::clone(&word.value));
            }
        }
        Mail {
            server,
            helo_name: g.smtp_helo_name.as_ref().map(text),
            connect_timeout: timeout,
            from: g
                .notification_email_from
                .as_ref()
                .map_or_else(|| Arc::from(format!("{user}@{host}")), text),
            to,
            no_faults: g.no_email_faults,
        }
    }

    fn fifo(&mut self, path: Option<&Words>, script: Option<&Words>) -> Option<Fifo> {
        let Some((path, owner)) = path.and_then(|words| words.split_first()) else {
            if let Some(script) = script.and_then(|words| words.first()) {
                let message = "a script for a FIFO that is not configured";
                self.warn(Code::Conflict, script.span, message, "it is not run");
                self.leave_out(script);
            }
            return None;
        };
        if impossible_name(owner).is_some() {
            script.into_iter().flatten().for_each(|script| self.leave_out(script));
        }
        let owner = if owner.is_empty() { None } else { Some(self.identity(owner, "the FIFO is not used")?) };
        let script = script.and_then(|words| self.command(words));
        Some(Fifo { path: PathBuf::from(&*path.value), owner, script })
    }

    fn timed(&mut self, script: Option<&Words>, timeout: Option<i64>) -> Option<Timed> {
        let command = self.command(script?)?;
        Some(Timed { command, timeout: Duration::from_secs(count(timeout, 10).into()) })
    }

    /// Octal, or names of mode bits joined by `|`.
    fn umask(&mut self, word: &Text) -> u32 {
        let bit = |name: &str| {
            Some(match name.trim() {
                "IRWXU" => 0o700,
                "IRUSR" => 0o400,
                "IWUSR" => 0o200,
                "IXUSR" => 0o100,
                "IRWXG" => 0o070,
                "IRGRP" => 0o040,
                "IWGRP" => 0o020,
                "IXGRP" => 0o010,
                "IRWXO" => 0o007,
                "IROTH" => 0o004,
                "IWOTH" => 0o002,
                "IXOTH" => 0o001,
                _ => return None,
            })
        };
        let named = || word.value.split('|').map(bit).try_fold(0, |all, bit| bit.map(|b| all | b));
        match u32::from_str_radix(&word.value, 8).ok().filter(|m| *m <= 0o777).or_else(named) {
            Some(mask) => mask,
            None => {
                let message = format!("`{}` is not a file mode", word.value);
                self.warn(Code::BadValue, word.span, &message, "0177");
                self.leave_out(word);
                UMASK
            }
        }
    }
}

pub(super) fn processors(words: Option<&Words>) -> Vec<usize> {
    words.into_iter().flatten().filter_map(|w| w.value.parse().ok()).collect()
}

fn rx_buffer(g: &settings::Global) -> Option<RxBuffer> {
    let policy = &g.vrrp_rx_bufs_policy.as_ref()?.first()?.value;
    let multiplier = count(g.vrrp_rx_bufs_multiplier.map(|n| n.value), 3);
    Some(match policy.to_ascii_lowercase().as_str() {
        "mtu" => RxBuffer::Mtu(multiplier),
        "advert" => RxBuffer::Advert(multiplier),
        bytes => RxBuffer::Bytes(bytes.parse().ok()?),
    })
}

fn webhook(words: &Words) -> Option<Webhook> {
    let timeout = words.get(1).and_then(|w| w.value.parse().ok()).unwrap_or(5);
    Some(Webhook { url: Arc::clone(&words.first()?.value), timeout: Duration::from_secs(timeout) })
}

/// `[all] SECS`.
pub(super) fn extra_if(words: &Words) -> Option<(Duration, bool)> {
    let all = &*words.first()?.value == "all";
    let seconds: u64 = words.get(usize::from(all))?.value.parse().ok()?;
    (seconds > 0).then_some((Duration::from_secs(seconds), all))
}

fn path_or(words: Option<&Words>, default: &str) -> Option<PathBuf> {
    words.map(|w| PathBuf::from(w.first().map_or(default, |w| &*w.value)))
}

fn span(seconds: Option<settings::Seconds>) -> Duration {
    seconds.map_or(Duration::ZERO, |s| s.0)
}

pub(super) fn text(word: &Text) -> Arc<str> {
    Arc::clone(&word.value)
}

pub(crate) fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}
