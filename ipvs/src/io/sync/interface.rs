//! Interfaces of this host.
#![expect(unsafe_code, reason = "no safe crate asks for the MTU of an interface")]

use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Socket, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    /// In bytes; as many as a length of IP has, if there are more.
    pub(super) mtu: u16,
}

impl Interface {
    /// # Errors
    /// `ENODEV`: there is none of that name.
    pub(super) fn find(name: &str) -> io::Result<Self> {
        let index = if_nametoindex(name)?;
        Ok(Self { index, mtu: mtu(name)? })
    }
}

fn mtu(name: &str) -> io::Result<u16> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    // SAFETY: it is made of numbers, for which zeros are values.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last place stays a NUL.
    let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    places.zip(name.bytes()).for_each(|(place, byte)| *place = libc::c_char::from_ne_bytes([byte]));
    let pointer: *mut libc::ifreq = &raw mut request;
    // SAFETY: the request reads the name, which ends with a NUL, and writes the MTU, all within what is borrowed here.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, pointer) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: that field is what the kernel has written.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u16::try_from(mtu.max(0)).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_an_mtu_and_no_interface_has_none() {
        let loopback = Interface::find("lo").unwrap();
        assert_eq!((loopback.index, loopback.mtu), (1, u16::MAX), "its 65536 bytes are more than IP has");
        let error = Interface::find("nowhere0").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
