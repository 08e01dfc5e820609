//! Kernel settings that decide what becomes of the connections of a real server that is gone.

use std::path::Path;

use super::sysctl::{IpvsKnob, Setting, Sysctls};

/// With the kernel's defaults a dead server keeps its flows for as long as clients go on sending, and a drained one the
/// clients that persistence holds there (`Documentation/networking/ipvs-sysctl.rst`).
const fn wanted(orphans: Orphans) -> [(IpvsKnob, i64); 3] {
    let expire = match orphans {
        Orphans::Expire => 1,
        Orphans::Keep => 0,
    };
    [
        (IpvsKnob::ExpireNodestConn, expire),
        // Persistence does not send new connections to a server with weight 0.
        (IpvsKnob::ExpireQuiescentTemplate, 1),
        // A client that uses a port again is balanced anew.
        (IpvsKnob::ConnReuseMode, 1),
    ]
}

/// Connections whose server was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// The next packet of each ends it, and may begin another. The removal of any server ends all that there are.
    #[default]
    Expire,
    /// Their packets are dropped. They go on when their server is back.
    Keep,
}

/// The settings of IPVS that Buoy wants while it runs. The kernel answers for the network namespace of the calling
/// thread.
#[derive(Debug)]
pub struct IpvsSettings(Sysctls);

/// One setting as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpvsSetting {
    /// As below /proc/sys/net/ipv4/vs.
    pub name: &'static str,
    /// `None` where the kernel has no such setting.
    pub value: Option<i64>,
    pub wanted: i64,
}

impl Default for IpvsSettings {
    fn default() -> Self {
        Self(Sysctls::below(Path::new("/proc/sys")))
    }
}

impl IpvsSettings {
    /// Sets what differs, and looks whether it has taken effect. Failures are logged, once. The module has to be loaded.
    pub fn set(&mut self, orphans: Orphans) -> Vec<IpvsSetting> {
        for (knob, value) in wanted(orphans) {
            self.0.try_set(&Setting::Ipvs(knob), value);
        }
        self.look(orphans)
    }

    /// What they are now.
    pub fn look(&self, orphans: Orphans) -> Vec<IpvsSetting> {
        let look = |(knob, wanted): (IpvsKnob, i64)| IpvsSetting {
            name: knob.name(),
            value: self.0.read(&Setting::Ipvs(knob)).ok(),
            wanted,
        };
        wanted(orphans).map(look).into()
    }

    /// Puts back what was there before, unless somebody else has changed it since.
    pub fn restore(&mut self) {
        self.0.restore_where(|_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_set_verified_and_put_back() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("net/ipv4/vs");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("expire_nodest_conn"), "0\n").expect("a file");
        std::fs::write(folder.join("conn_reuse_mode"), "1\n").expect("a file");
        let mut settings = IpvsSettings(Sysctls::below(root.path()));
        let values: Vec<_> =
            settings.set(Orphans::Expire).into_iter().map(|setting| (setting.name, setting.value)).collect();
        let expected = [
            ("expire_nodest_conn", Some(1)),
            ("expire_quiescent_template", None),
            ("conn_reuse_mode", Some(1)),
        ];
        assert_eq!(values, expected);
        let read = || std::fs::read_to_string(folder.join("expire_nodest_conn")).expect("it is there");
        settings.set(Orphans::Keep);
        assert_eq!(read().trim(), "0");
        settings.set(Orphans::Expire);
        settings.restore();
        assert_eq!(read().trim(), "0", "as it was before");
    }
}
