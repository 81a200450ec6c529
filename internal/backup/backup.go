// Package backup dumps the database with PostgreSQL's own pg_dump, and believes a dump only once it has
// been restored: into a scratch database on the same server, where every table must have as many rows as
// the dump's snapshot had, and every ledger and the chain of market data must have the same heads.
//
// pg_dump and pg_restore get the connection by environment variables. The password is on no command line
// and in no log.
package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options are what a Backup needs; all of them, but for Process.
type Options struct {
	DatabaseURL string // whose user must be allowed to create databases, for the scratch one
	// Process is how the process itself works with the database, by another login perhaps: a backup of any
	// other database is refused. Nil: DatabaseURL is right.
	Process *pgxpool.Pool
	Dir     string // where dumps are kept; made when it is not there
	Keep    int    // how many of the newest dumps stay, at least 1
	Log     *slog.Logger
	Now     func() time.Time
}

// Backup makes dumps.
type Backup struct{ opts Options }

// New returns a Backup.
func New(opts Options) *Backup { return &Backup{opts} }

// Report is what a backup came to.
type Report struct {
	File    string   `json:"file"`
	Bytes   int64    `json:"bytes"`
	Tables  int      `json:"tables"`
	Rows    int64    `json:"rows"`
	Ledgers int64    `json:"ledgers"` // whose heads were compared
	Heads   string   `json:"heads"`   // SHA-256 over all heads
	Removed []string `json:"removed,omitempty"`
	Server  int      `json:"server"` // major version
	PGDump  string   `json:"pg_dump"`
}

// File names are dawsos-20260501T223000Z.dump, so that their order is that of time.
const (
	prefix     = "dawsos-"
	suffix     = ".dump"
	unfinished = ".partial"
	stamp      = "20060102T150405Z"
)

// Run makes a dump in pg_dump's custom format, verifies it, and removes those that are too many. A dump
// that can't be verified is deleted, and no older one with it.
func (b *Backup) Run(ctx context.Context) (Report, error) {
	report, err := b.run(ctx)
	if err != nil {
		return report, fmt.Errorf("backup: %w", err)
	}
	b.opts.Log.InfoContext(ctx, "backup made and verified", "file", report.File, "bytes", report.Bytes, "rows", report.Rows)
	return report, nil
}

func (b *Backup) run(ctx context.Context) (report Report, err error) {
	// As the rest of the process reads the address: it may hold settings of the pool.
	config, err := pgxpool.ParseConfig(b.opts.DatabaseURL)
	if err != nil {
		return report, errors.New("DATABASE_URL can't be parsed") // the error may show it
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return report, errors.New("the database does not answer") // pgx's own text names host and user
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := b.rightDatabase(ctx, conn); err != nil {
		return report, err
	}
	if report.Server, err = serverMajor(ctx, conn); err != nil {
		return report, err
	}
	tools, err := find(ctx, report.Server)
	if err != nil {
		return report, err
	}
	report.PGDump = tools.version

	if err := os.MkdirAll(b.opts.Dir, 0o700); err != nil {
		return report, fmt.Errorf("BACKUP_DIR: %w", err)
	}
	if err := b.clear(ctx, conn); err != nil {
		return report, err
	}
	final := filepath.Join(b.opts.Dir, prefix+b.opts.Now().UTC().Format(stamp)+suffix)
	partial := final + unfinished
	defer func() {
		if err != nil {
			err = errors.Join(err, removeIfThere(partial))
		}
	}()
	inventory, err := b.dump(ctx, conn, tools, partial)
	if err != nil {
		return report, err
	}
	report.Tables, report.Rows, report.Ledgers, report.Heads = len(inventory.rows), inventory.total(), inventory.ledgers, inventory.heads
	if err := b.verify(ctx, conn, tools, partial, inventory); err != nil {
		return report, err
	}
	info, err := os.Stat(partial)
	if err != nil {
		return report, err
	}
	report.Bytes, report.File = info.Size(), filepath.Base(final)
	if err := os.Rename(partial, final); err != nil {
		return report, err
	}
	report.Removed, err = b.rotate()
	return report, err
}

// rightDatabase makes sure that conn leads to the database that the process works with. One that was moved
// is like the one that stayed behind: it may have its name, its rows, and from a copied disk its server's
// identifier. So the database itself is asked: a lock that conn holds can't be had there by anybody else,
// and in any other database it can. It takes no right to try.
func (b *Backup) rightDatabase(ctx context.Context, conn *pgx.Conn) error {
	if b.opts.Process == nil {
		return nil
	}
	key := "dawsos backup " + rand.Text() // nobody else's
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtextextended($1, 0))`, key); err != nil {
		return fmt.Errorf("take a lock: %w", err)
	}
	var free bool
	err := b.opts.Process.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))`, key).Scan(&free)
	if err != nil {
		return fmt.Errorf("whether BACKUP_DATABASE_URL and DATABASE_URL lead to the same database: %w", err)
	}
	if free {
		return errors.New("BACKUP_DATABASE_URL and DATABASE_URL lead to different databases: " +
			"the backup would not be of the one that is worked with. Let both lead to that one, each with its own login")
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, key); err != nil {
		return fmt.Errorf("give the lock back: %w", err)
	}
	return nil
}

// clear waits until no other worker makes a backup of this database, keeps others from it until conn is
// closed, and removes what backups have left that were killed: a database as large as this one, and a
// part of a dump.
func (b *Backup) clear(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtextextended('dawsos backup', 0))`); err != nil {
		return fmt.Errorf("wait for other backups: %w", err)
	}
	start, err := scratchPrefix(ctx, conn)
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)`, start)
	if err != nil {
		return fmt.Errorf("list scratch databases: %w", err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list scratch databases: %w", err)
	}
	for _, name := range left {
		if _, err := conn.Exec(ctx, `DROP DATABASE IF EXISTS `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`); err != nil {
			return fmt.Errorf("drop the scratch database %s: %w", name, err)
		}
	}
	parts, err := filepath.Glob(filepath.Join(b.opts.Dir, prefix+"*"+suffix+unfinished))
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := removeIfThere(part); err != nil {
			return err
		}
	}
	if len(left)+len(parts) > 0 {
		b.opts.Log.WarnContext(ctx, "removed what an interrupted backup has left", "databases", left, "files", len(parts))
	}
	return nil
}

// scratchPrefix begins the names of scratch databases: other databases of the server have others.
func scratchPrefix(ctx context.Context, conn *pgx.Conn) (string, error) {
	var oid uint32
	if err := conn.QueryRow(ctx, `SELECT oid FROM pg_database WHERE datname = current_database()`).Scan(&oid); err != nil {
		return "", fmt.Errorf("the database's own id: %w", err)
	}
	return fmt.Sprintf("dawsos_verify_%d_", oid), nil
}

func removeIfThere(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// dump writes a dump into file, and returns what the database held in the dump's snapshot.
func (b *Backup) dump(ctx context.Context, conn *pgx.Conn, t tools, file string) (inventory, error) {
	var held inventory
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var snapshot string
		if err := tx.QueryRow(ctx, `SELECT pg_export_snapshot()`).Scan(&snapshot); err != nil {
			return fmt.Errorf("export a snapshot: %w", err)
		}
		out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // in BACKUP_DIR, its name made of the time
		if err != nil {
			return fmt.Errorf("BACKUP_DIR: %w", err)
		}
		err = t.run(ctx, b.environment(conn.Config()), out, t.dump, "--format=custom", "--no-password", "--snapshot="+snapshot)
		if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
			return err
		}
		held, err = take(ctx, tx)
		return err
	})
	return held, err
}

// verify restores a dump and compares it with what it must hold.
func (b *Backup) verify(ctx context.Context, conn *pgx.Conn, t tools, file string, want inventory) (err error) {
	start, err := scratchPrefix(ctx, conn)
	if err != nil {
		return err
	}
	scratch := start + strings.ToLower(rand.Text()[:12])
	name := pgx.Identifier{scratch}.Sanitize()
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE template0`); err != nil {
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == insufficientPrivilege {
			return fmt.Errorf("the dump can't be verified: the database user %q may not create databases; allow it with ALTER ROLE ... CREATEDB", conn.Config().User)
		}
		return fmt.Errorf("create a scratch database: %w", err)
	}
	defer func() {
		// Also when ctx has ended: what is left behind would be as large as the database.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if _, dropErr := conn.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`); dropErr != nil {
			err = errors.Join(err, fmt.Errorf("drop the scratch database %s: %w", scratch, dropErr))
		}
	}()
	config := conn.Config().Copy()
	config.Database = scratch
	err = t.run(ctx, b.environment(config), io.Discard, t.restore, "--exit-on-error", "--no-owner", "--no-privileges", "--no-password", "--dbname="+scratch, file)
	if err != nil {
		return fmt.Errorf("restore the dump: %w", err)
	}
	restored, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return errors.New("the restored database does not answer")
	}
	defer restored.Close(context.WithoutCancel(ctx))
	return pgx.BeginTxFunc(ctx, restored, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		got, err := take(ctx, tx)
		if err != nil {
			return fmt.Errorf("read the restored database: %w", err)
		}
		return want.compare(got)
	})
}

const insufficientPrivilege = "42501"

// rotate removes the oldest dumps beyond Keep, and returns their names.
func (b *Backup) rotate() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(b.opts.Dir, prefix+"*"+suffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var removed []string
	for len(files) > b.opts.Keep {
		if err := os.Remove(files[0]); err != nil {
			return removed, fmt.Errorf("remove an old dump: %w", err)
		}
		removed = append(removed, filepath.Base(files[0]))
		files = files[1:]
	}
	return removed, nil
}

// inventory is what a database holds, as far as it is compared.
type inventory struct {
	rows    map[string]int64 // by schema and table
	ledgers int64
	heads   string
}

func (i inventory) total() int64 {
	var n int64
	for _, rows := range i.rows {
		n += rows
	}
	return n
}

// take reads an inventory in a transaction that sees one snapshot.
func take(ctx context.Context, tx pgx.Tx) (inventory, error) {
	i := inventory{rows: map[string]int64{}}
	rows, err := tx.Query(ctx, `
		SELECT n.nspname, c.relname
		FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
			AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
		ORDER BY 1, 2`)
	if err != nil {
		return i, fmt.Errorf("list tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Schema, Name string }])
	if err != nil {
		return i, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		name := pgx.Identifier{t.Schema, t.Name}.Sanitize()
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM `+name).Scan(&n); err != nil {
			return i, fmt.Errorf("count the rows of %s: %w", name, err)
		}
		i.rows[t.Schema+"."+t.Name] = n
	}
	digest := sha256.New()
	for n, sql := range []string{
		// The head of each ledger, which are counted, as the portfolio has it and as its last booking has it.
		`SELECT concat_ws(' ', p.tenant_id, p.id, p.ledger_seq, p.ledger_version, coalesce(t.ledger_version, '-'))
		 FROM portfolios AS p
		 LEFT JOIN transactions AS t ON t.portfolio_id = p.id AND t.seq = p.ledger_seq
		 ORDER BY p.id`,
		`SELECT concat_ws(' ', tenant_id, revision, content_hash) FROM data_revisions ORDER BY tenant_id, revision`,
	} {
		rows, err := tx.Query(ctx, sql)
		if err != nil {
			return i, fmt.Errorf("read the heads of ledgers and market data: %w", err)
		}
		var head string
		tag, err := pgx.ForEachRow(rows, []any{&head}, func() error {
			_, err := io.WriteString(digest, head+"\n")
			return err
		})
		if err != nil {
			return i, fmt.Errorf("read the heads of ledgers and market data: %w", err)
		}
		if n == 0 {
			i.ledgers = tag.RowsAffected()
		}
	}
	i.heads = hex.EncodeToString(digest.Sum(nil))
	return i, nil
}

// compare says what differs in a restored database.
func (i inventory) compare(got inventory) error {
	var errs []error
	for _, table := range slices.Sorted(maps.Keys(i.rows)) {
		n, ok := got.rows[table]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("the restored database lacks the table %s", table))
		case n != i.rows[table]:
			errs = append(errs, fmt.Errorf("the restored table %s has %d rows instead of %d", table, n, i.rows[table]))
		}
	}
	if i.heads != got.heads {
		errs = append(errs, errors.New("the restored ledgers, or the chain of market data, have other heads"))
	}
	return errors.Join(errs...)
}

func serverMajor(ctx context.Context, conn *pgx.Conn) (int, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return 0, fmt.Errorf("the server's version: %w", err)
	}
	return version / 10_000, nil
}

// environment is what PostgreSQL's programs connect by.
func (b *Backup) environment(c *pgx.ConnConfig) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_MESSAGES=C",
		"PGHOST=" + c.Host, fmt.Sprintf("PGPORT=%d", c.Port), "PGUSER=" + c.User, "PGDATABASE=" + c.Database,
		"PGPASSWORD=" + c.Password, "PGAPPNAME=dawsos-backup", "PGCONNECT_TIMEOUT=10",
	}
	// How the connection is encrypted stands in the address, or where pgx looks, too.
	if u, err := url.Parse(b.opts.DatabaseURL); err == nil {
		for option, variable := range map[string]string{
			"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
		} {
			if v := cmp.Or(u.Query().Get(option), os.Getenv(variable)); v != "" {
				env = append(env, variable+"="+v)
			}
		}
	}
	return env
}

// run runs a program; what it says when it fails is in the error.
func (t tools) run(ctx context.Context, env []string, out io.Writer, program string, args ...string) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // one that find has found
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, &said
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		if len(text) > maxSaid {
			text = text[:maxSaid] + " ..."
		}
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, text)
	}
	return nil
}

// maxSaid bounds what of a program's words goes into an error.
const maxSaid = 2000
