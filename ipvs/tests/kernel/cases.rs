mod counters;
mod golden;
mod refusals;
mod sync;
mod table;
mod without_ipv6;
