mod counters;
mod golden;
mod hooks;
mod module;
mod refusals;
mod sync;
mod table;
mod without_ipv6;
