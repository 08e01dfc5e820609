//! What the wire showed: lateness by the capture's clock, and tshark's opinion.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use buoy::lab::capture::{Capture, Direction, Frame, Mac, Takeover};
use buoy::lab::find_program;

use super::peer;

/// Whether a frame at the second director's port is an advertisement by it, or by its peer.
pub(crate) fn advertised_by_second(frame: &Frame) -> bool {
    frame.direction == Direction::In && frame.advertisement().is_some_and(|adv| adv.priority > 0)
}

pub(crate) fn advertised_by_first(frame: &Frame) -> bool {
    frame.direction == Direction::Out && frame.advertisement().is_some()
}

/// # Panics
/// When a virtual router's frame comes from another MAC address than this, or tells the neighbours of another.
pub(crate) fn assert_all_from(capture: &Capture, mac: Mac, vips: &[IpAddr]) {
    let frames = capture.frames();
    let mut spoken = [false; 2];
    for frame in &frames {
        let used = match (frame.advertisement(), frame.announcement()) {
            (Some(advertisement), _) => advertisement.source_mac,
            (None, Some(announcement)) if vips.contains(&announcement.address) => announcement.mac,
            _ => continue,
        };
        assert_eq!(used, mac, "{frame}");
        spoken[usize::from(frame.advertisement().is_some())] = true;
    }
    assert_eq!(spoken, [true; 2], "there were announcements and advertisements");
}

/// The first change of master after `since`, which has to be there.
pub(crate) fn takeover(capture: &Capture, since: SystemTime) -> Takeover {
    let takeover = capture.takeovers_since(since).pop();
    takeover.unwrap_or_else(|| {
        let seen: String = capture.frames().iter().map(|frame| format!("\n    {frame}")).collect();
        panic!("nobody took over; seen:{seen}")
    })
}

/// Has tshark judge every VRRP packet of the capture.
///
/// # Panics
/// When it finds one malformed, or with a wrong checksum, or does not see all that were captured.
pub(crate) fn assert_tshark_is_content(capture: &Capture, directory: &Path) {
    let Some(tshark) = peer("tshark", find_program("tshark")) else { return };
    let file = directory.join("vrrp.pcap");
    capture.write_pcap(&file).expect("writing a pcap file");
    let select = |filter: &str| {
        let output = Command::new(&tshark)
            .args(["-n", "-r"])
            .arg(&file)
            .args(["-o", "ip.check_checksum:TRUE", "-Y", filter])
            .output()
            .expect("running tshark");
        assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let seen = select("vrrp.checksum.status == \"Good\"").lines().count();
    assert_eq!(seen, capture.advertisements().len(), "tshark finds the checksum of every advertisement good");
    let complaints = select(
        "vrrp && (_ws.malformed || _ws.expert.severity >= \"Warning\" || ip.checksum.status == \"Bad\")",
    );
    assert_eq!(complaints, "", "tshark complains");
}
