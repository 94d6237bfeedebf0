//! The table of settings: each is declared here once.
//!
//! Flag, environment variable, key of the file, the check of its form and range, the texts of
//! `--help`, of `docs/settings.md` and of `docs/limits.md` come from here. Rules between settings are
//! in `rules.rs` and `auth.rs`, computed defaults in `resolve.rs`.

use std::path::Path;

use toml::Value;
use trunkline_gateway::auth::TokenAlgorithm;
use trunkline_http::back::{BackUrl, OnFailure};
use trunkline_http::{MediaPlace, MediaTypes};
use trunkline_proto::proxy::Naming;

use super::form::{Address, FilePath, Form, LogFilter, OptionalAddress, Text};
use super::routes::Routes;
use super::row::Row;
use super::units::{ByteSize, Durability, Duration, Life};
use super::written::Written;
use super::{AllowedOrigins, LogFormat, NamespaceWeights, TrustedProxies};

macro_rules! settings {
    ($( $(#[doc = $help:literal])+ $name:ident: $form:ty { $($option:ident($($text:literal),*)),* } )+) => {
        /// The settings, each with a value or without.
        #[derive(Debug, Clone, Default)]
        pub struct Settings {
            $( $(#[doc = $help])+ pub(super) $name: Option<$form>, )+
        }

        /// The declaration of each setting, in the order of the help.
        pub(super) static ROWS: &[Row] = &[
            $( Row::new(stringify!($name), <$form as Form>::VALUE, concat!($($help),+))
                $(.$option($($text),*))*, )+
        ];

        impl Settings {
            /// Reads the value of a setting of the table; relative paths begin at `folder`.
            ///
            /// # Errors
            /// Says what is wrong with the value.
            pub(super) fn read(
                &mut self,
                name: &str,
                written: &Written,
                folder: &Path,
            ) -> Result<(), String> {
                match name {
                    $( stringify!($name) => self.$name = Some(Form::read(written, folder)?), )+
                    _ => return Err("there is no such setting".to_owned()),
                }
                Ok(())
            }

            /// Returns the setting's value as a file has it, if it has one.
            pub(super) fn value(&self, name: &str) -> Option<Value> {
                match name {
                    $( stringify!($name) => self.$name.as_ref().map(Form::to_value), )+
                    _ => None,
                }
            }

            /// Returns the number that is compared with the range of a setting; `None` without a
            /// value or a range.
            pub(super) fn measure(&self, name: &str) -> Option<u128> {
                match name {
                    $( stringify!($name) => self.$name.as_ref().and_then(Form::measure), )+
                    _ => None,
                }
            }
        }
    };
}

settings! {
    /// The address for WebSocket connections: an IP address or a name, and a port. Port 0 picks a
    /// free port.
    listen: Address { default("127.0.0.1:7700") }
    /// The file with the certificate for TLS, followed by the certificates up to the root, in PEM.
    /// With it clients connect with wss://. SIGHUP reads it again.
    tls_cert: FilePath { example("\"/etc/trunkline/fullchain.pem\""), reloaded() }
    /// The file with the private key of the certificate, in PEM: PKCS#8, SEC1 or PKCS#1. SIGHUP
    /// reads it again.
    tls_key: FilePath { example("\"/etc/trunkline/privkey.pem\""), reloaded() }
    /// The address for HTTP requests about health and metrics: an IP address or a name, and a port.
    /// Port 0 picks a free port.
    control: Address { default("127.0.0.1:7701") }
    /// The most connections to the control port at a time. One more takes the place of the least
    /// useful connection.
    control_connections: usize { default("64"), range("1", "10000"), limits("connections at a time", "the connection whose last request is oldest, or that is open longest without one, is dropped, and one whose request has no answer yet is the last to go: a new one always gets in") }
    /// The time for a request to the control port, counted from the connection or the previous
    /// request, and for reading its answer.
    control_timeout: Duration { default("10s"), range("100ms", "1h"), limits("time for a request, counted from the connection or the previous request, and for reading its answer", "the connection is dropped without an answer") }
    /// The file with the tokens of operators for the admin API on the control port: a line
    /// `name scopes sha256-of-token` for each, as `trunkline admin-token` makes it. Without it the API
    /// exists on a loopback address only, and needs no token. SIGHUP reads it again.
    admin_tokens: FilePath { example("\"/etc/trunkline/admin-tokens\""), reloaded() }
    /// The address for the client API over HTTP: an IP address or a name, and a port. Port 0 picks a
    /// free port, off closes the API. With a certificate the API speaks https://. If the setting
    /// is not given and another program has the default address, the gateway starts without the API and
    /// logs a warning.
    http: OptionalAddress { default("127.0.0.1:7702") }
    /// The most connections to the client API at a time. Requests that wait for events and streams
    /// count.
    http_connections: usize { default("16384"), range("1", "1000000"), limits("connections to the client API at a time, at most a quarter of the descriptor limit, or nearly all of it if shards have descriptor tables of their own", "the connection that was idle for longest is dropped, and one whose request has no answer yet is the last to go; if all of them wait for events, the new one gets HTTP 503") }
    /// The time for a request to the client API, counted from the connection or the previous request,
    /// and for reading its answer. Waiting for events does not count.
    http_timeout: Duration { default("30s"), range("100ms", "1h"), limits("time for a request to the client API, counted from the connection or the previous request, and for reading its answer", "the connection is dropped without an answer") }
    /// The most requests of one user to the client API that have no answer yet. 0: no limit.
    http_requests_per_user: u32 { default("32"), dev("0"), limits("requests of a user to the client API without an answer yet, with those that wait for events", "error 111: HTTP 429") }
    /// The bytes of the bodies of all requests to the client API that have no answer yet.
    http_body_bytes: ByteSize { default("64MiB"), least("1MiB"), limits("bytes of the bodies of all requests to the client API that have no answer yet", "error 115: HTTP 503") }
    /// The bytes of streams and answers of the client API together that clients have not taken.
    http_unread_bytes: ByteSize { default("64MiB"), least("1MiB"), limits("bytes of streams and answers of the client API together that clients have not taken", "a stream or an answer to a request that waited is dropped if it is as long as the mean of all and has been blocked for a second; another such answer is error 115: HTTP 503, also if its command was carried out. An answer to a request that did not wait stays until its client has taken it or `http_timeout` is over: until then, other answers of 4 KiB and more may be refused") }
    /// The place of media that clients upload: a folder, which the gateway makes if it is missing, or
    /// `s3://bucket/prefix` for a bucket that speaks S3.
    media: MediaPlace { example("\"/var/lib/trunkline/media\""), computed("the folder media in the data folder") }
    /// The file with the address and the credentials of the bucket of media: a line `AWS_NAME=value` for
    /// each, such as `AWS_ENDPOINT_URL`. They win over variables of the environment with the same names.
    media_s3_file: FilePath { example("\"/etc/trunkline/media.env\"") }
    /// The largest file that clients may upload.
    media_max: ByteSize { default("25MiB"), range("1KiB", "1GiB"), limits("a file that a client uploads", "error 106: HTTP 413") }
    /// The types of files that clients may upload: a list such as `image/*,application/pdf`, or `*/*`
    /// for all.
    media_types: MediaTypes { default("*/*"), limits("types of files that clients upload", "HTTP 415") }
    /// How long an uploaded file stays that no message names.
    media_unnamed_life: Duration { default("1d"), range("1s", "365d"), limits("time for which a file stays that no message names", "it is removed") }
    /// The web pages that may connect, beside those of the host of the gateway: a list such as
    /// `https://chat.example.com,https://example.com:8443`, or `*` for any page and any Host. With
    /// --dev-auth, pages of this machine may connect too.
    allowed_origins: AllowedOrigins { example("\"https://chat.example.com\"") }
    /// The addresses of reverse proxies whose word counts: a list such as `10.0.0.0/8,2001:db8::7`. A
    /// connection or request that comes through one of them counts for its client in all limits and
    /// logs of addresses. What others say about their address is ignored. SIGHUP reads the list again, for
    /// connections that come from then on.
    trusted_proxies: TrustedProxies { example("\"10.0.0.0/8,2001:db8::7\""), reloaded() }
    /// How the trusted proxies name the client: x-forwarded-for, forwarded (RFC 7239), any of both
    /// headers, or proxy-protocol (version 1 or 2 before the first byte of each connection, also before
    /// TLS). With any, a request whose two headers name different clients gets HTTP 400.
    proxy_header: Naming { default("any"), reloaded() }
    /// The back end that is asked before a session opens. Without keys for tokens it alone says who the
    /// clients are.
    callbacks_connect: BackUrl { example("\"http://127.0.0.1:9000/connect\"") }
    /// The back end that is asked before a message is stored.
    callbacks_send: BackUrl { example("\"http://127.0.0.1:9000/send\"") }
    /// The back end that is asked before a subscription begins.
    callbacks_subscribe: BackUrl { example("\"http://127.0.0.1:9000/subscribe\"") }
    /// The back ends that answer rpc, each with the beginning of its methods: the longest wins. A flag
    /// has a list such as `orders.=http://127.0.0.1:9001/rpc,=http://127.0.0.1:9000/rpc`.
    callbacks_rpc: Routes { example("{ \"orders.\" = \"http://127.0.0.1:9001/rpc\", \"\" = \"http://127.0.0.1:9000/rpc\" }") }
    /// The time for the answer of a back end, also of one that is told by a webhook.
    callbacks_timeout: Duration { default("2s"), range("50ms", "30s"), limits("time for the answer of a back end", "`rpc` gets error 100; what else was asked about follows `callbacks_on_failure`") }
    /// What happens to what a back end is asked about when it does not answer: it is denied with a
    /// temporary error, or allowed as without the back end.
    callbacks_on_failure: OnFailure { default("deny") }
    /// The file with the certificates of authorities that vouch for back ends with https:// addresses, in
    /// PEM. Without it those of the system do.
    callbacks_ca_file: FilePath { example("\"/etc/trunkline/back-ends.pem\"") }
    /// The file with the secret that signs requests to back ends: `whsec_` and base64. SIGHUP reads it
    /// again.
    callbacks_secret_file: FilePath { example("\"/etc/trunkline/webhook.secret\""), reloaded() }
    /// The back end that is told of each message whose recipient has no device connected, until it answers.
    webhooks_offline: BackUrl { example("\"http://127.0.0.1:9000/offline\"") }
    /// The back end that is told of each user who comes, and of each user who has left for presence-grace.
    webhooks_presence: BackUrl { example("\"http://127.0.0.1:9000/presence\"") }
    /// The time after which a back end is not told any more of what it did not answer to.
    webhooks_give_up: Duration { default("3d"), range("1s", "30d"), limits("time to tell a back end of a message or of a change of presence", "it is not told") }
    /// The maximum number of members of a group whose messages the back end is told of.
    webhooks_groups_up_to: usize { default("500"), most("10000"), limits("members of a group whose messages `offline` is told of", "it is not told of the messages of larger groups") }
    /// The folder of the store. The gateway makes it if it is missing.
    data: FilePath { default("trunkline-data"), value("DIR") }
    /// The number of event loops. Each has a thread.
    shards: usize { example("4"), computed("one per core"), range("1", "127") }
    /// When a message counts as stored: sync (after fdatasync), `interval:<ms>` (once written; a
    /// thread syncs at this interval, from 1 to 60000 ms) or os (once written; the kernel decides
    /// when to sync).
    durability: Durability { default("sync") }
    /// Lets clients choose their own names. This is for development, on loopback addresses only.
    dev_auth: bool { default("false") }
    /// The file with the key that the tokens of clients (JWT) are signed with: a public key in PEM,
    /// or with --jwt-algorithm=HS256 the bytes of a secret. SIGHUP reads it again.
    jwt_key: FilePath { example("\"/etc/trunkline/token.key\""), reloaded() }
    /// The algorithm that tokens are signed with, if the key does not say so: HS256, RS256, ES256
    /// or EdDSA.
    jwt_algorithm: TokenAlgorithm { example("\"HS256\""), reloaded() }
    /// The file with a set of keys (JWKS) for the tokens of clients. Each token names one of them
    /// by `kid`. SIGHUP reads it again.
    jwks: FilePath { example("\"/etc/trunkline/jwks.json\""), reloaded() }
    /// The audience (`aud`) that each token must name.
    jwt_audience: Text { example("\"chat\""), reloaded() }
    /// The issuer (`iss`) that each token must name.
    jwt_issuer: Text { example("\"https://id.example.com\""), reloaded() }
    /// How much the clock of the issuer and that of the gateway may differ, for `exp` and `nbf` of
    /// tokens.
    jwt_leeway: Duration { default("5s"), most("10m"), reloaded() }
    /// The longest token.
    token_bytes: ByteSize { default("4KiB"), range("256B", "64KiB"), limits("a token", "error 101, close 3500") }
    /// The most topic patterns of a token.
    token_topics: usize { default("100"), most("1000"), limits("topic patterns of a token", "error 101, close 3500") }
    /// The most connections of the gateway.
    max_connections: usize { default("100000"), least("1"), limits("connections", "HTTP 503 with `Retry-After`") }
    /// The longest WebSocket message, in both directions, all fragments together.
    message_bytes: ByteSize { default("1MiB"), range("1KiB", "32MiB"), limits("a WebSocket message from a client, all fragments together; the size that its headers announce counts", "close 1009") }
    /// The longest text of a message; at most message-bytes.
    text_bytes: ByteSize { example("\"64KiB\""), computed("64KiB, or message-bytes if that is less"), least("1B"), limits("the text of a message", "error 106") }
    /// The longest idempotency key; at most message-bytes.
    key_bytes: ByteSize { default("128B"), least("1B"), limits("an idempotency key", "error 106") }
    /// The output that may wait for one connection. Beyond it, one gap replaces live pushes.
    outbox_bytes: ByteSize { default("1MiB"), least("4KiB"), limits("output that waits for a connection", "live pushes are dropped and replaced by one `gap`; the gateway reads nothing from the client until the client has read") }
    /// The output that may wait for a connection when the store is asked for its next answer.
    answer_bytes: ByteSize { default("1MiB"), limits("output that may wait for a connection when the store is asked for its next answer or page; each answer is `message_bytes` at most", "the question waits until the client has read") }
    /// The most connections of one address; an IPv6 /64 network counts as one address. 0: no limit.
    connections_per_address: u32 { default("10000"), dev("0"), limits("connections of an IPv4 address or an IPv6 /64 network", "HTTP 429") }
    /// The most sessions of one user. 0: no limit.
    connections_per_user: u32 { default("32"), dev("0"), limits("sessions of a user", "error 106, close 3504") }
    /// The most connections of a shard that have no session yet.
    max_opening: usize { default("16384"), least("1"), limits("connections of a shard without a session", "HTTP 503 with `Retry-After`") }
    /// The most connections that a shard accepts in one turn of its loop, and the most connections
    /// without a session that it reads.
    newcomers_per_turn: usize { default("16"), least("1"), limits("new connections that a shard accepts per turn, and connections without a session that it reads per turn, both within the time for all that can wait", "they wait for a later turn; sessions do not wait") }
    /// The most sessions of a shard that catch up at the same time.
    max_recovering: usize { default("1024"), least("1"), limits("sessions of a shard that catch up at the same time", "close 3013, with a range of delays") }
    /// The unread output and unfinished input of all connections of a shard; at least outbox-bytes
    /// and message-bytes together.
    shard_buffer_bytes: ByteSize { default("256MiB"), limits("memory for output that waits for all connections of a shard, plus the unfinished messages and requests that have arrived. A push of 8 KiB or more for several connections counts once in a shard", "from half of it on, live pushes to clients that do not read become a `gap`, and their questions to the store wait (limited: answers). From three quarters on, so do those for more than 16 connections where more than 4 KiB of earlier output wait to be written. Beyond it the connections that hold most are closed: 3008 for unread output, 3013 for unfinished input, HTTP 503 before the upgrade") }
    /// The longest upgrade request.
    header_bytes: ByteSize { default("8KiB"), range("1KiB", "64KiB"), limits("an upgrade request", "HTTP 431") }
    /// The most commands in one frame.
    frame_commands: usize { default("1024"), least("1"), limits("commands in a frame", "one error 106; the rest of the frame is not read") }
    /// The most answers from the store that a connection may wait for at the same time.
    max_pages: u8 { default("32"), least("1"), limits("outstanding answers of a connection that need the store: `sync`, `history`, `get`, lists, typing in groups, and presence in part", "error 111") }
    /// The messages that a connection may send per second. 0: no limit.
    rate_messages: u32 { default("100"), dev("0"), limits("messages of a connection per second", "error 111") }
    /// The bytes that a connection may send per second. 0B: no limit.
    rate_bytes: ByteSize { default("1MiB"), dev("0B"), limits("bytes of a connection per second", "error 111") }
    /// The commands that a connection may send per second. 0: no limit.
    rate_commands: u32 { default("500"), dev("0"), limits("commands of a connection per second", "error 111") }
    /// The messages that all connections of a user may send per second. 0: no limit.
    user_rate_messages: u32 { example("200"), computed("twice rate-messages"), limits("messages of all connections of a user per second", "error 111") }
    /// The bytes that all connections of a user may send per second. 0B: no limit.
    user_rate_bytes: ByteSize { example("\"2MiB\""), computed("twice rate-bytes"), limits("bytes of all connections of a user per second", "error 111") }
    /// The commands that all connections of a user may send per second. 0: no limit.
    user_rate_commands: u32 { example("1000"), computed("twice rate-commands"), limits("commands of all connections of a user per second", "error 111") }
    /// How much unused rate a client can save up, as a time: rate-messages × rate-burst messages
    /// may come at once.
    rate_burst: Duration { default("10s"), range("1s", "1h"), limits("how much unused rate a client can save up: a burst of `rate_messages` × `rate_burst` messages (100 × 10 = 1,000)", "") }
    /// The time of a core per second that the work for a connection may cost, while other users
    /// within their budgets are served. 0ms: no budget.
    connection_cost: Duration { default("3ms"), most("128s"), limits("work for a connection: time of a core per second, while other users within their budgets are served", "the connection is not read until the debt is paid; with more than 5 s of debt left its commands get error 111") }
    /// The time of a core per second that the work for all connections of a user may cost, while
    /// other users within their budgets are served. 0ms: no budget.
    user_cost: Duration { default("3ms"), most("128s"), limits("work for all connections of a user: time of a core per second, while other users within their budgets are served", "its connections are not read until the debt is paid; with more than 5 s of debt left their commands get error 111") }
    /// The time of a core per second that the work for all connections of an address may cost,
    /// while other addresses within their budgets are served. An IPv6 /64 network counts as one
    /// address. 0ms: no budget.
    address_cost: Duration { default("60ms"), most("128s"), limits("work for all connections of an address: time of a core per second, while other addresses within their budgets are served", "its connections are not read until the debt is paid; with more than 5 s of debt left their commands get error 111; new connections wait up to 1 s, and get HTTP 429 while connections without a session are an eighth of `max_opening`") }
    /// The time of a core per second that the work for all users of a namespace may cost, while
    /// other namespaces within their budgets are served. 0ms: no budget.
    namespace_cost: Duration { default("0ms"), most("128s"), limits("work for all users of a namespace: time of a core per second, while other namespaces within their budgets are served", "its connections are not read until the debt is paid; with more than 5 s of debt left their commands get error 111") }
    /// How much unused budget of cost can be saved up, as a time: user-cost × cost-burst of work may
    /// come at once. An address saves for a fifth of this time.
    cost_burst: Duration { default("10s"), range("1s", "1h"), limits("how much unused budget of cost can be saved up: `user_cost` × `cost_burst` of work (3 ms × 10 = 30 ms), and a fifth of that time for addresses", "") }
    /// The most pings and pongs that a connection may send within a second.
    control_frames: u16 { default("200"), least("1"), limits("pings and pongs of a connection within a second", "close 1008") }
    /// The time for a WebSocket message, from its first byte to its last.
    message_timeout: Duration { default("2m"), range("100ms", "24h"), limits("time from the first byte of a message to its last, however many fragments it has", "close 1008") }
    /// The time for the HTTP upgrade, including a TLS hand-shake.
    handshake_timeout: Duration { default("10s"), range("100ms", "24h"), limits("time for the upgrade, including a TLS hand-shake", "the connection is dropped without an answer") }
    /// The time for `connect` after the upgrade.
    connect_timeout: Duration { default("10s"), range("100ms", "24h"), limits("time from the upgrade to `connect`", "close 3502") }
    /// The silence of a client after which the gateway pings it.
    ping_interval: Duration { default("25s"), range("100ms", "24h"), limits("silence of a client, including half-open links", "a ping") }
    /// The time for the answer to a ping.
    pong_timeout: Duration { default("10s"), range("100ms", "24h"), limits("time for the answer to a ping", "close 3012") }
    /// The time in which a client may read no byte of the output that waits for it.
    write_timeout: Duration { default("30s"), range("100ms", "24h"), limits("time in which a client reads no byte of what waits", "the connection is dropped; counted as 3008, though the code cannot reach the client") }
    /// The sessions that this gateway takes in per second. Clients that are told to reconnect
    /// spread over the time that this takes.
    reconnect_rate: u32 { default("10000"), least("1"), limits("sessions that the gateway takes in per second; a session with TLS counts as 8, and one whose token needs a public key as 3 more", "the delays that clients are told (3001, 3013) spread over the time to take all of them in, at least 100 ms and at most `reconnect_delay`") }
    /// The longest delay that the gateway tells clients to wait before they reconnect.
    reconnect_delay: Duration { default("30s"), limits("the longest delay that clients are told; each waits a random time up to it, or up to the result of `reconnect_rate`", "") }
    /// The time for stopping. Connections that remain after it are dropped.
    drain_timeout: Duration { default("20s"), range("100ms", "24h"), limits("time for the stop", "connections are dropped; 10 s later the process ends, whatever the disk does") }
    /// The time over which clients are told that the gateway stops; at most half of drain-timeout.
    drain_window: Duration { default("2s"), limits("time over which clients are told that the gateway stops; at least 100 a second are told", "") }
    /// The members of a group up to which an event enters the timeline of every member. Members of
    /// larger groups catch up from the timeline of the group.
    fanout_limit: usize { default("200"), range("1", "10000"), limits("members of a group up to which an event enters every member's timeline", "members catch up from the group's channel; clients see no difference") }
    /// How long members catch up from the timeline of their group at least, once the group has more than
    /// fanout-limit. 0s: until it is below four fifths of that.
    channel_stays: Duration { default("1h"), most("30d"), limits("how long members catch up from the group's channel at least, once it has more than `fanout_limit`; at most 30d", "they catch up from their own timelines again, if the group is below four fifths of `fanout_limit`") }
    /// The members of a group up to which the author of a message gets the receipts of the others.
    receipt_fanout: usize { default("16"), range("2", "64"), limits("members of a group up to which the author of a message gets the others' receipts; at most 64", "only the reader's own devices get them; the command `receipts` answers") }
    /// How long a receipt waits for others of its conversation, so that one record stores them
    /// together. 0s: not at all.
    receipt_delay: Duration { default("250ms"), most("10s"), limits("how long a receipt waits for others of its conversation, to share one record; 0s: not at all; at most 10s", "it is stored, pushed and answered") }
    /// How long a receipt that says only that a message was delivered waits for others of its
    /// conversation.
    delivered_delay: Duration { example("\"2s\""), computed("2s, or 8 times receipt-delay if that is given"), most("10s"), limits("how long a receipt that says only \"delivered\" waits for others of its conversation; at most 10s", "it is stored, pushed and answered") }
    /// The most members of one group.
    group_members: usize { default("200000"), range("2", "1000000"), limits("members of a group", "error 106, nobody is added") }
    /// Lets every member of a group add members, not only its owners and admins.
    members_add: bool { default("false") }
    /// How long the sender of a message can recall it.
    recall_window: Duration { default("1d"), most("365d"), limits("time in which a sender can recall a message", "error 114") }
    /// How long the sender of a message can edit it.
    edit_window: Duration { default("1d"), most("365d"), limits("time in which a sender can edit a message", "error 119") }
    /// The members of groups that are kept in memory.
    group_cache: usize { default("2000000"), range("2", "100000000"), limits("group members kept in memory", "the groups that were unused for longest leave memory, and are loaded again on use. Groups that are unused for a minute leave it in any case") }
    /// How long a user may be away before watchers are told.
    presence_grace: Duration { default("10s"), most("1h"), limits("how long a user may be away, or have fewer devices, before watchers are told", "") }
    /// The most users whose presence a connection watches.
    max_watches: usize { default("1000"), least("1"), limits("users that a connection watches", "error 106; none of the command's users is watched") }
    /// The most users whose last-seen time is kept in memory, about 60 bytes each.
    last_seen_cache: usize { default("100000"), limits("users whose last-seen time is in memory", "the store is asked for the oldest; such a reply counts for `max_pages`") }
    /// How often last-seen times are stored.
    last_seen_interval: Duration { default("5s"), range("100ms", "24h"), limits("how often last-seen times are stored; users who are back by then are skipped", "") }
    /// The most last-seen times that are stored per second, about 28 bytes each. 0: none.
    last_seen_rate: u32 { default("20000"), limits("last-seen times stored per second, 512 at a time and 28 bytes of log each; 0: none", "they wait in memory, up to `max_connections` of them; beyond that the store keeps the previous time") }
    /// The most topics that a connection subscribes to.
    max_subscriptions: usize { default("100"), least("1"), limits("topics that a connection subscribes to", "error 106") }
    /// The most watches and subscriptions of all connections of a shard.
    max_listenings: usize { default("1048576"), least("1"), limits("watches and subscriptions of all connections of a shard", "error 106") }
    /// The most topics of all namespaces.
    max_topics: usize { default("100000"), least("1"), limits("topics of all namespaces", "a topic without subscribers is forgotten; if there is none, error 106") }
    /// The most publications of a topic that are kept for `since`. 0: none.
    topic_history: usize { default("100"), limits("publications of a topic that `since` in `subscribe` can bring back", "older ones are forgotten: `\"recovered\":false`") }
    /// The bytes that are kept of the publications of one topic, in both encodings.
    topic_bytes: ByteSize { default("1MiB"), limits("bytes of the publications that the gateway keeps of a topic, in both encodings", "older ones are forgotten") }
    /// The bytes that are kept of the publications of all topics.
    topics_bytes: ByteSize { default("64MiB"), limits("bytes of the publications that the gateway keeps of all topics", "older ones of the topic published to are forgotten") }
    /// How long an idempotency key is known.
    idempotency_window: Duration { default("24h"), range("1s", "365d") }
    /// How long the events of a user can be synced; at least idempotency-window. Older positions
    /// get error 112. keep: for ever.
    sync_life: Life { default("30d") }
    /// How long messages stay in histories; at least sync-life. keep: for ever.
    message_life: Life { default("keep") }
    /// The bytes of the files of the store that are kept in memory.
    store_cache: ByteSize { default("64MiB") }
    /// The size of the log files of the store: a multiple of 4KiB, at least message-bytes and
    /// 128KiB together.
    segment_bytes: ByteSize { default("64MiB"), most("1GiB") }
    /// The disk space that messages leave free for the upkeep of the store. Beyond it sends get
    /// error 116.
    store_reserve: ByteSize { default("256MiB") }
    /// Makes an index of the words of messages, in the folder search of the data folder, and answers the
    /// command search with it.
    search: bool { default("false") }
    /// The time after which the words of messages that were recalled, edited or erased are gone from the files
    /// of the index.
    search_purge: Duration { default("1h"), range("1s", "7d") }
    /// The cluster that the gateway is a node of, as `trunkline cluster init` has made it. Without it the
    /// gateway works alone.
    cluster: Text { example("\"chat\"") }
    /// The name of the gateway in its cluster: 1 to 32 letters, digits, `-` and `_`. Each node has another
    /// one.
    node: Text { example("\"a\"") }
    /// The NATS servers of the cluster: one to sixteen URLs with commas between them, such as
    /// `nats://10.0.0.1:4222,nats://10.0.0.2:4222`. A user comes from nats-credentials, not from a URL.
    nats: Text { example("\"nats://10.0.0.1:4222\"") }
    /// The file with the JWT of the NATS user and the seed that signs (a `.creds` file).
    nats_credentials: FilePath { example("\"/etc/trunkline/nats.creds\"") }
    /// The file with the certificates of the authorities that sign the certificates of the NATS servers, in PEM.
    /// With it connections to them are encrypted.
    nats_ca_file: FilePath { example("\"/etc/trunkline/nats-ca.pem\"") }
    /// The file with the certificate of the node, for NATS servers that ask for one, in PEM. With it connections to
    /// them are encrypted.
    nats_cert_file: FilePath { example("\"/etc/trunkline/nats-cert.pem\"") }
    /// The file with the private key of that certificate, in PEM.
    nats_key_file: FilePath { example("\"/etc/trunkline/nats-key.pem\"") }
    /// The most conversations whose state is kept in memory, about 100 bytes each.
    conversation_cache: usize { default("500000"), least("32768") }
    /// The shares of namespaces in the work of the gateway, while several have work waiting: a list
    /// such as `acme=4,*=1`, from 1 to 1000. A namespace with weight 4 gets 4 times the work of one
    /// with weight 1. `*` stands for all namespaces that are not named; without it they have weight 1.
    namespace_weights: NamespaceWeights { example("\"acme=4,*=1\"") }
    /// How log lines look: text, or json with one object per line.
    log_format: LogFormat { default("text") }
    /// Which log lines are written, such as info or trunkline=debug,info. SIGHUP reads it again
    /// from the file.
    log: LogFilter { default("info"), reloaded() }
}
