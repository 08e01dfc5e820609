//! Kernel settings that decide what becomes of the connections of a real server that is gone.

use std::path::Path;

use super::sysctl::{IpvsKnob, Setting, Sysctls};

/// With the kernel's defaults a dead server keeps its flows for as long as clients go on sending, and a drained one the
/// clients that persistence holds there (`Documentation/networking/ipvs-sysctl.rst`).
const WANTED: [(IpvsKnob, i64); 3] = [
    // The next packet to a server that was removed ends its connection, and may begin another.
    (IpvsKnob::ExpireNodestConn, 1),
    // Persistence does not send new connections to a server with weight 0.
    (IpvsKnob::ExpireQuiescentTemplate, 1),
    // A client that uses a port again is balanced anew.
    (IpvsKnob::ConnReuseMode, 1),
];

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
    pub fn set(&mut self) -> Vec<IpvsSetting> {
        for (knob, value) in WANTED {
            self.0.try_set(&Setting::Ipvs(knob), value);
        }
        self.look()
    }

    /// What they are now.
    pub fn look(&self) -> Vec<IpvsSetting> {
        let look = |(knob, wanted): (IpvsKnob, i64)| IpvsSetting {
            name: knob.name(),
            value: self.0.read(&Setting::Ipvs(knob)).ok(),
            wanted,
        };
        WANTED.map(look).into()
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
            settings.set().into_iter().map(|setting| (setting.name, setting.value)).collect();
        let expected = [
            ("expire_nodest_conn", Some(1)),
            ("expire_quiescent_template", None),
            ("conn_reuse_mode", Some(1)),
        ];
        assert_eq!(values, expected);
        settings.restore();
        let back = std::fs::read_to_string(folder.join("expire_nodest_conn")).expect("it is there");
        assert_eq!(back.trim(), "0");
    }
}
