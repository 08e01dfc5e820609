//! Kernel settings under /proc/sys that Buoy changes while it runs, and puts back when nobody else changed them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One setting (`Documentation/networking/ip-sysctl.rst`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    Ipv4 {
        dev: Arc<str>,
        knob: Ipv4Knob,
    },
    Ipv6 {
        dev: Arc<str>,
        knob: Ipv6Knob,
    },
    Ipvs(IpvsKnob),
    /// Whether the kernel reports memberships of 224.0.0.0/24 groups, VRRP's among them.
    IgmpLinkLocalReports,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ipv4Knob {
    ArpIgnore,
    ArpFilter,
    AcceptLocal,
    RpFilter,
    PromoteSecondaries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ipv6Knob {
    AddrGenMode,
    DisableIpv6,
}

/// `Documentation/networking/ipvs-sysctl.rst`; there while the module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IpvsKnob {
    ExpireNodestConn,
    ExpireQuiescentTemplate,
    ConnReuseMode,
}

impl IpvsKnob {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ExpireNodestConn => "expire_nodest_conn",
            Self::ExpireQuiescentTemplate => "expire_quiescent_template",
            Self::ConnReuseMode => "conn_reuse_mode",
        }
    }
}

impl Setting {
    pub(super) fn ipv4(dev: &Arc<str>, knob: Ipv4Knob) -> Self {
        Self::Ipv4 { dev: dev.clone(), knob }
    }

    pub(super) fn ipv6(dev: &Arc<str>, knob: Ipv6Knob) -> Self {
        Self::Ipv6 { dev: dev.clone(), knob }
    }
}

/// The path below /proc/sys.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4 { dev, knob } => {
                let knob = match knob {
                    Ipv4Knob::ArpIgnore => "arp_ignore",
                    Ipv4Knob::ArpFilter => "arp_filter",
                    Ipv4Knob::AcceptLocal => "accept_local",
                    Ipv4Knob::RpFilter => "rp_filter",
                    Ipv4Knob::PromoteSecondaries => "promote_secondaries",
                };
                write!(f, "net/ipv4/conf/{dev}/{knob}")
            }
            Self::Ipv6 { dev, knob } => {
                let knob = match knob {
                    Ipv6Knob::AddrGenMode => "addr_gen_mode",
                    Ipv6Knob::DisableIpv6 => "disable_ipv6",
                };
                write!(f, "net/ipv6/conf/{dev}/{knob}")
            }
            Self::Ipvs(knob) => write!(f, "net/ipv4/vs/{}", knob.name()),
            Self::IgmpLinkLocalReports => f.write_str("net/ipv4/igmp_link_local_mcast_reports"),
        }
    }
}

#[derive(Debug)]
struct Saved {
    before: i64,
    ours: i64,
}

/// The settings and what they were before.
#[derive(Debug)]
pub(super) struct Sysctls {
    root: PathBuf,
    saved: BTreeMap<Setting, Saved>,
    /// Said to be impossible; once is enough.
    refused: BTreeSet<Setting>,
}

impl Sysctls {
    /// `root` is /proc/sys; the kernel answers for the network namespace of the calling thread.
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), saved: BTreeMap::new(), refused: BTreeSet::new() }
    }

    pub(super) fn read(&self, setting: &Setting) -> io::Result<i64> {
        let text = std::fs::read_to_string(self.path(setting)?)?;
        text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Changes a setting until `restore`. Writes nothing when the value is there already.
    pub(super) fn set(&mut self, setting: &Setting, value: i64) -> io::Result<()> {
        let now = self.read(setting)?;
        if now != value {
            std::fs::write(self.path(setting)?, value.to_string())?;
        }
        let saved = self.saved.entry(setting.clone()).or_insert(Saved { before: now, ours: value });
        saved.ours = value;
        Ok(())
    }

    /// Like `set`, with failure as a warning: the setting helps and is not indispensable.
    pub(super) fn try_set(&mut self, setting: &Setting, value: i64) {
        if let Err(error) = self.set(setting, value)
            && self.refused.insert(setting.clone())
        {
            tracing::warn!(%setting, value, %error, "could not change a kernel setting");
        }
    }

    /// Whether a setting was set, or refused, and the interface is still the same.
    pub(super) fn settled(&self, setting: &Setting) -> bool {
        self.saved.contains_key(setting) || self.refused.contains(setting)
    }

    /// The interface is gone with all its settings; another one of that name starts anew.
    pub(super) fn forget(&mut self, name: &str) {
        let stays = |setting: &Setting| match setting {
            Setting::Ipv4 { dev, .. } | Setting::Ipv6 { dev, .. } => **dev != *name,
            Setting::Ipvs(_) | Setting::IgmpLinkLocalReports => true,
        };
        self.saved.retain(|setting, _| stays(setting));
        self.refused.retain(stays);
    }

    /// Puts the old value back unless somebody else has changed it since.
    pub(super) fn restore(&mut self, setting: &Setting) {
        let Some(saved) = self.saved.remove(setting) else { return };
        if saved.before == saved.ours || self.read(setting).ok() != Some(saved.ours) {
            return;
        }
        let path = self.path(setting);
        if let Err(error) = path.and_then(|path| std::fs::write(path, saved.before.to_string())) {
            tracing::warn!(%setting, value = saved.before, %error, "could not restore a kernel setting");
        }
    }

    pub(super) fn restore_where(&mut self, which: impl Fn(&Setting) -> bool) {
        let settings: Vec<Setting> = self.saved.keys().filter(|setting| which(setting)).cloned().collect();
        for setting in settings {
            self.restore(&setting);
        }
    }

    /// Names with IPv4 settings: the interfaces, `all` and `default`.
    pub(super) fn ipv4_devices(&self) -> io::Result<Vec<Arc<str>>> {
        let entries = std::fs::read_dir(self.root.join("net/ipv4/conf"))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str().map(Arc::from)).collect())
    }

    fn path(&self, setting: &Setting) -> io::Result<PathBuf> {
        let dev = match setting {
            Setting::Ipv4 { dev, .. } | Setting::Ipv6 { dev, .. } => dev,
            Setting::Ipvs(_) | Setting::IgmpLinkLocalReports => "",
        };
        if dev.contains('/') || matches!(dev, "." | "..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an interface name"));
        }
        Ok(self.root.join(setting.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(value: &str) -> (tempfile::TempDir, Setting) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("net/ipv4/conf/eth0")).unwrap();
        std::fs::write(root.path().join("net/ipv4/conf/eth0/arp_ignore"), value).unwrap();
        (root, Setting::ipv4(&"eth0".into(), Ipv4Knob::ArpIgnore))
    }

    #[test]
    fn a_changed_setting_gets_its_old_value_back() {
        let (root, setting) = tree("0\n");
        let mut sysctls = Sysctls::below(root.path());
        sysctls.set(&setting, 1).unwrap();
        sysctls.set(&setting, 2).unwrap();
        assert_eq!(sysctls.read(&setting).unwrap(), 2);
        sysctls.restore_where(|_| true);
        assert_eq!(sysctls.read(&setting).unwrap(), 0);
    }

    #[test]
    fn a_setting_that_somebody_else_changed_is_left_alone() {
        let (root, setting) = tree("0\n");
        let mut sysctls = Sysctls::below(root.path());
        sysctls.set(&setting, 1).unwrap();
        std::fs::write(root.path().join(setting.to_string()), "8\n").unwrap();
        sysctls.restore(&setting);
        assert_eq!(sysctls.read(&setting).unwrap(), 8);
    }

    #[test]
    fn an_interface_name_cannot_leave_the_directory() {
        let (root, _) = tree("0\n");
        let setting = Setting::ipv4(&"../../..".into(), Ipv4Knob::ArpIgnore);
        assert!(Sysctls::below(root.path()).read(&setting).is_err());
        let setting = Setting::ipv4(&"..".into(), Ipv4Knob::ArpIgnore);
        assert!(Sysctls::below(root.path()).read(&setting).is_err());
    }
}
