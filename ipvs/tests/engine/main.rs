//! The engine as a value: packets and time go in, from friends and from others, and what it promises holds.

mod day;
mod distribution;
mod flow;
mod fuzzed;
mod hostile;
mod operations;
mod packets;
mod site;
