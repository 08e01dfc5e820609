//! Any datagram from the kernel's IPVS: what is read of it is written to bytes that read the same, and so is what it
//! means.

use std::net::Ipv4Addr;

use buoy_ipvs::kernel::daemon;
use buoy_ipvs::kernel::server::{self, ReadServer};
use buoy_ipvs::kernel::service::{self, ReadService};
use buoy_ipvs::kernel::{Attribute, Message, messages};
use buoy_ipvs::{Change, Protocol, ServiceId};
use netlink_packet_core::Emitable;

pub(crate) fn check(datagram: &[u8]) {
    for message in messages(datagram).map_while(Result::ok) {
        assert_eq!(written(&message), message);
        for attribute in &message.attributes {
            check_meaning(attribute);
        }
    }
}

fn check_meaning(attribute: &Attribute) {
    let web = ServiceId::Address { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST.into(), port: 80 };
    match attribute {
        Attribute::Service(attributes) => {
            let Ok(ReadService::Known(read, _)) = service::read(attributes) else { return };
            let again = written(&Message::change(&Change::AddService(read.clone())));
            let [Attribute::Service(attributes)] = &again.attributes[..] else { panic!("{again:?}") };
            assert!(matches!(service::read(attributes), Ok(ReadService::Known(same, _)) if same == read));
        }
        Attribute::Server(attributes) => {
            let Ok(ReadServer::Known(read, _)) = server::read(&web, attributes) else { return };
            let again = written(&Message::change(&Change::AddServer(web, read)));
            let [_, Attribute::Server(attributes)] = &again.attributes[..] else { panic!("{again:?}") };
            assert!(matches!(server::read(&web, attributes), Ok(ReadServer::Known(same, _)) if same == read));
        }
        Attribute::Daemon(attributes) => {
            let Ok(read) = daemon::read(attributes) else { return };
            let again = written(&Message::start(&read));
            let [Attribute::Daemon(attributes)] = &again.attributes[..] else { panic!("{again:?}") };
            assert_eq!(daemon::read(attributes).expect("what was written"), read);
        }
        _ => {}
    }
}

/// The message as it arrives on the other side.
fn written(message: &Message) -> Message {
    const HEADERS: usize = 20;
    let length = HEADERS + message.buffer_len();
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&u32::try_from(length).expect("a short message").to_ne_bytes());
    bytes[4] = 30;
    bytes[16] = message.command;
    message.emit(&mut bytes[HEADERS..]);
    let mut read = messages(&bytes);
    read.next().expect("a message").expect("what was written")
}
