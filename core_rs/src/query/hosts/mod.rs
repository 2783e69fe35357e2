//! A question answered by several hosts: one message to all item hosts, one reply of each, one slate.
//!
//! A session host knows the visitor and the catalogue, item hosts know counts, rows and sessions.
//!
//! * [`message`]: what travels, by name: numbers of items are a process's own. [`column`], [`ids`]: many of a kind in it.
//! * [`scatter`]: the session host works the request out and says what of the visitor the item hosts need.
//! * [`candidates`]: an item host asks its sources, and says of each item what only it knows.
//! * [`gather`]: the session host settles each source's list by the order that one process would have, and goes on with
//!   the code of one process ([`crate::query::recommend::Ranking`]). [`told`]: replies behind the interfaces of that code.
//! * [`likeliest`]: the same where only scores decide, without looking up what is far from the slate.
//! * [`anonymous`]: `similar` and `trending`, which no session host is needed for.
//! * [`shards`]: whether all have answered, each for items of its own. [`version`]: all of them under one configuration.
//!
//! Raw scores travel as they are, and each is computed by one host alone: so where all hosts stand at one position and all
//! have answered, the slate is that of one process, bit for bit. When the catalogue must fill in, which is rare, the
//! session host asks a second time ([`message::Refill`]).

pub mod anonymous;
pub mod candidates;
pub mod column;
pub mod gather;
pub mod ids;
pub mod likeliest;
pub mod message;
pub mod scatter;
pub mod shards;
pub mod told;
pub mod version;
