//! Three Galera nodes on loopback, and what befalls them.
//!
//! Their time-outs are short: a node that is silent is suspected after 2 s and left out after 4 s at the latest. A node that comes
//! back gets what it missed from the others' caches, or, when they do not have it any more, a copy of the data by rsync.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{ACCOUNT, Server, Template, folder, port};

/// How many nodes there are: the fewest of which one may be lost.
pub(crate) const NODES: usize = 3;

const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// How long nodes that run may take to find each other before the whole cluster is started anew.
const REUNION: Duration = Duration::from_secs(60);

/// How long a cluster may take to be whole.
const WHOLE: Duration = Duration::from_secs(240);

/// The ports of a node besides that of its clients.
#[derive(Debug)]
pub(crate) struct Ports {
    group: u16,
    increments: u16,
    copies: u16,
}

impl Ports {
    pub(crate) fn choose() -> Ports {
        Ports { group: port(), increments: port(), copies: port() }
    }
}

/// The options of a node of the cluster at `members`.
pub(crate) fn options(ports: &Ports, name: &str, members: &str) -> Command {
    assert!(Path::new(PROVIDER).exists(), "{PROVIDER} is missing: apt-get install galera-4");
    let Ports { group, increments, copies } = ports;
    let provider = format!(
        "base_host=127.0.0.1;base_port={group};gmcast.listen_addr=tcp://127.0.0.1:{group};\
         ist.recv_addr=127.0.0.1:{increments};gcache.size=32M;gcache.page_size=32M;gcache.recover=yes;\
         evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT2S;\
         evs.inactive_timeout=PT4S;evs.install_timeout=PT4S;evs.join_retrans_period=PT0.3S;\
         pc.announce_timeout=PT1S"
    );
    // Only its arguments are used.
    let mut options = Command::new("options");
    options.args(["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", "--wsrep-slave-threads=2"]);
    // As it is usual on nodes: what a node loses in a power failure it gets from the others.
    options.arg("--innodb-flush-log-at-trx-commit=2");
    options.arg(format!("--wsrep-provider={PROVIDER}")).arg(format!("--wsrep-provider-options={provider}"));
    options.arg("--wsrep-cluster-name=weir").arg(format!("--wsrep-cluster-address={members}"));
    options.arg(format!("--wsrep-node-name={name}")).arg(format!("--wsrep-node-address=127.0.0.1:{group}"));
    options.arg("--wsrep-sst-method=rsync").arg(format!("--wsrep-sst-receive-address=127.0.0.1:{copies}"));
    options
}

struct Node {
    name: String,
    server: Server,
    ports: Ports,
}

/// The cluster, killed when dropped.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    members: String,
    /// Where each node's applier is held, if it is.
    held: Vec<Option<Conn>>,
    _template: Arc<Template>,
    _folder: TempDir,
}

static CLUSTER: Mutex<Weak<Mutex<Cluster>>> = Mutex::new(Weak::new());

/// A share in the cluster of this process.
pub(crate) struct Shared(Arc<Mutex<Cluster>>);

impl Shared {
    /// The cluster of this process, started when first needed and ended with its last user.
    pub(crate) fn get() -> Shared {
        let mut known = CLUSTER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Shared(known.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Mutex::new(Cluster::start()));
            *known = Arc::downgrade(&started);
            started
        }))
    }

    /// Waits until nobody else uses it, and for it to be whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cluster> {
        let mut cluster = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        cluster.heal();
        cluster
    }
}

impl Cluster {
    fn start() -> Cluster {
        let (template, home) = (Template::get(), folder("weir-cluster"));
        let nodes: Vec<_> = (0..NODES)
            .map(|number| {
                let name = format!("n{number}");
                Node { server: Server::new(&template, &home.path().join(&name)), ports: Ports::choose(), name }
            })
            .collect();
        let members: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.group)).collect();
        let members = format!("gcomm://{}", members.join(","));
        let held = nodes.iter().map(|_| None).collect();
        let mut cluster = Cluster { nodes, members, held, _template: template, _folder: home };
        cluster.start_all();
        let begun = Instant::now();
        while !cluster.is_whole() {
            assert!(begun.elapsed() < WHOLE, "the cluster does not come up: {}", cluster.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    /// Starts every node, the one that got furthest as the first of a new cluster.
    fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.server.kill());
        let members = &self.members;
        let places: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> =
                self.nodes.iter_mut().map(|node| scope.spawn(move || recover(node, members))).collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let furthest = (0..NODES).max_by_key(|node| seqno(&places[*node])).unwrap();
        let state = self.nodes[furthest].server.data().join("grastate.dat");
        let text = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1")).unwrap();
        for node in &self.nodes {
            let _ = std::fs::remove_file(node.server.data().join("gvwstate.dat"));
        }
        self.spawn(furthest, &places[furthest], true);
        for node in (0..NODES).filter(|node| *node != furthest) {
            self.spawn(node, &places[node], false);
        }
    }

    fn spawn(&mut self, node: usize, place: &str, first: bool) {
        let Node { name, server, ports } = &mut self.nodes[node];
        let mut options = options(ports, name, &self.members);
        if !place.is_empty() {
            options.arg(format!("--wsrep-start-position={place}"));
        }
        if first {
            options.arg("--wsrep-new-cluster");
        }
        server.spawn(&options);
    }

    /// `host:port` of a node.
    pub(crate) fn address(&self, node: usize) -> String {
        self.nodes[node].server.address()
    }

    /// The URL of a database on a node.
    pub(crate) fn url(&self, node: usize, database: &str) -> String {
        format!("mysql://{ACCOUNT}@{}/{database}", self.address(node))
    }

    /// The URL of a database on all nodes, this one first.
    pub(crate) fn url_of_all(&self, node: usize, database: &str) -> String {
        let hosts: Vec<_> = (0..NODES).map(|step| self.address((node + step) % NODES)).collect();
        format!("mysql://{ACCOUNT}@{}/{database}", hosts.join(","))
    }

    /// The administrator's connection to a node.
    pub(crate) fn root(&self, node: usize) -> Conn {
        self.nodes[node].server.root()
    }

    /// Whether a node takes statements.
    pub(crate) fn is_ready(&self, node: usize) -> bool {
        self.nodes[node].server.status("wsrep_ready").as_deref() == Some("ON")
    }

    fn is_whole(&mut self) -> bool {
        let is = |node: &mut Node, name, value| node.server.status(name).as_deref() == Some(value);
        self.nodes.iter_mut().all(|node| {
            node.server.is_running()
                && is(node, "wsrep_ready", "ON")
                && is(node, "wsrep_local_state", "4")
                && is(node, "wsrep_cluster_size", "3")
        })
    }

    /// Kills a node with -9.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].server.kill();
    }

    /// Starts a node that was killed, from where it was.
    pub(crate) fn start_again(&mut self, node: usize) {
        if !self.nodes[node].server.is_running() {
            let place = recover(&mut self.nodes[node], &self.members);
            self.spawn(node, &place, false);
        }
    }

    /// Kills all nodes at once, and starts them again.
    pub(crate) fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.server.kill());
    }

    /// Starts the whole cluster after all nodes were killed.
    pub(crate) fn start_all_again(&mut self) {
        self.start_all();
    }

    /// Stops a node: it accepts and never answers.
    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node].server.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&mut self, node: usize) {
        self.nodes[node].server.signal(Signal::CONT);
    }

    /// Cuts a node off from the others, or joins it to them again. Whether the node took the order.
    pub(crate) fn isolate(&self, node: usize, cut: bool) -> bool {
        let order = format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'", u8::from(cut));
        self.nodes[node].server.try_root().is_ok_and(|mut root| root.query_drop(order).is_ok())
    }

    /// Lets a node fall behind the others: what they commit from now on waits there. Whether it does.
    pub(crate) fn hold_back(&mut self, node: usize) -> bool {
        let other = (node + 1) % NODES;
        let held = self.nodes[node].server.try_root().and_then(|mut root| {
            root.query_drop("SET GLOBAL wsrep_desync = ON")?;
            root.query_drop("LOCK TABLES lag.t READ")?;
            Ok(root)
        });
        let Ok(root) = held else { return false };
        self.held[node] = Some(root);
        // The applier waits for the lock, and what comes after it waits for the applier.
        let behind = self.nodes[other].server.try_root();
        behind.is_ok_and(|mut root| root.query_drop("INSERT INTO lag.t VALUES (NULL)").is_ok())
    }

    /// Lets it catch up.
    pub(crate) fn let_go(&mut self, node: usize) {
        if self.held[node].take().is_some()
            && let Ok(mut root) = self.nodes[node].server.try_root()
        {
            // Without it no fault would be left, only a node whose lag does not slow the others down.
            let _ = root.query_drop("SET GLOBAL wsrep_desync = OFF");
        }
    }

    /// Ends every fault, and waits until all nodes are one cluster.
    pub(crate) fn heal(&mut self) {
        let begun = Instant::now();
        let mut renewed = false;
        for node in 0..NODES {
            self.go_on(node);
            self.let_go(node);
            self.isolate(node, false);
        }
        while !self.is_whole() {
            assert!(begun.elapsed() < WHOLE, "the cluster does not come together: {}", self.logs());
            if begun.elapsed() > REUNION && !renewed {
                renewed = true;
                self.start_all();
            }
            (0..NODES).for_each(|node| self.start_again(node));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let last = |log: String| log.lines().rev().take(40).map(|line| format!("{line}\n")).collect::<Vec<_>>();
        let logs = self.nodes.iter().map(|node| {
            let lines: String = last(node.server.log()).into_iter().rev().collect();
            format!("\n--- {} ---\n{lines}", node.name)
        });
        logs.collect()
    }
}

/// Where a node is that was killed or shut down.
fn recover(node: &mut Node, members: &str) -> String {
    let log = node.server.data().parent().unwrap().join("recovery.log");
    let _ = std::fs::remove_file(&log);
    let mut options = options(&node.ports, &node.name, members);
    options.arg("--wsrep-recover").arg(format!("--log-error={}", log.display()));
    node.server.run(&options);
    let text = std::fs::read(&log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let place = text.lines().rev().find_map(|line| line.split_once("Recovered position: ")).map(|(_, place)| place);
    place.unwrap_or_default().trim().to_string()
}

fn seqno(place: &str) -> i64 {
    // A domain may come after it.
    place.split(':').nth(1).and_then(|rest| rest.split(',').next()?.trim().parse().ok()).unwrap_or(-1)
}
