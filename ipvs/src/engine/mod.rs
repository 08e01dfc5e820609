//! IPVS without the kernel's IPVS: the same services, schedulers, connections and forwarding, as a value.
//!
//! No socket, no clock, no thread: packets and time come in, verdicts and rewritten packets go out. What is here follows
//! Linux's IPVS as operators know it, down to ties and default timeouts; where it is better on purpose, the module says
//! so.

pub mod address;
pub mod buffer;
pub mod checksum;
pub mod connections;
pub mod forward;
pub mod index;
pub mod packet;
pub mod process;
pub mod reassembly;
pub mod scheduler;
pub mod services;
pub mod state;
pub mod wheel;
