//! Any datagram of the process connector: no event, or one that stands in the message itself.

use buoy::track::decode_process_event;

pub(crate) fn check(datagram: &[u8]) {
    let Some(event) = decode_process_event(datagram) else { return };
    let length = datagram.first_chunk().copied().map_or(0, u32::from_ne_bytes);
    let message = usize::try_from(length).ok().and_then(|length| datagram.get(..length));
    let message = message.expect("a message that is cut off is no event");
    assert_eq!(decode_process_event(message), Some(event), "what follows the message says nothing");
}
