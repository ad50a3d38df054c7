//! What the schedules have found, each as a test of its own.

use std::time::Duration;

use weir::slug::Slug;
use weir::store::{self, DatabaseUrl};

use crate::proxy::{Mode, Proxy};
use crate::support::{MariaDb, Site};

/// Seed 1014: `poll flush --every` ended with a panic of the database's driver.
#[test]
fn a_database_that_hung_up_before_totals_were_read_made_the_driver_panic() {
    let mariadb = MariaDb::start();
    let proxy = Proxy::start(&mariadb.address());
    let url = mariadb.create("polls").replace(&mariadb.address(), &proxy.address());
    Site::new(&[]).with("WEIR_MEMCACHED", crate::ledger::NOBODY).with("WEIR_DATABASE", &url).create_now();
    let mut store = store::open(&DatabaseUrl::new(&url).unwrap(), Duration::from_secs(60)).unwrap();
    let poll = store.poll(&Slug::new("now").unwrap()).unwrap().unwrap();
    for round in 0..2 {
        assert_eq!(store.tally(&poll).unwrap().ballots, 0);
        proxy.set(Mode::Refuse);
        match round {
            0 => assert!(store.tally(&poll).is_err()),
            _ => assert!(store.recount(&poll).is_err()),
        }
        proxy.set(Mode::Pass);
    }
    assert!(store.recount(&poll).is_ok());
}
