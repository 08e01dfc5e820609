//! Any line on the control socket, in both directions: refused, or a request that means the same when it is written
//! again.

use buoy::api::{Reply, Request};

pub(crate) fn check(line: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(line) {
        let again = serde_json::to_vec(&request).expect("a request can be written");
        assert!(!again.contains(&b'\n'), "one line");
        assert_eq!(serde_json::from_slice::<Request>(&again).ok(), Some(request));
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(line) {
        let again = serde_json::to_vec(&reply).expect("a reply can be written");
        assert!(serde_json::from_slice::<Reply>(&again).is_ok());
    }
}
