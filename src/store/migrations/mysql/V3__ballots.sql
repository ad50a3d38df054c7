CREATE TABLE IF NOT EXISTS ballots (
  poll_id BIGINT NOT NULL,
  identity BINARY(16) NOT NULL,
  picks BIGINT NOT NULL,
  at_ms BIGINT NOT NULL,
  PRIMARY KEY (poll_id, identity)
) ENGINE=InnoDB
