package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/dbtest"
	"github.com/dawsos/dawsos/internal/store/roles"
)

// table is one of ours, as the catalog has it.
type table struct {
	Name     string
	Tenant   string // the column that names the tenant; "" when rows are of no tenant
	Shared   bool   // it may be null: the row is nobody's alone
	Person   string // the column that names the person; "" when rows are no person's
	Unowned  bool   // it may be null: the row is a program's
	Secured  bool
	Policies []string
}

func tables(t *testing.T, pool *pgxpool.Pool) []table {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		SELECT c.relname::text, coalesce(tenant.attname, '')::text, NOT coalesce(tenant.attnotnull, true),
			coalesce(person.attname, '')::text, NOT coalesce(person.attnotnull, true), c.relrowsecurity,
			array(SELECT r.rolname::text FROM pg_policy AS p CROSS JOIN unnest(p.polroles) AS of JOIN pg_roles AS r ON r.oid = of
				WHERE p.polrelid = c.oid AND p.polpermissive ORDER BY 1)
		FROM pg_class AS c
		LEFT JOIN pg_attribute AS tenant ON tenant.attrelid = c.oid AND NOT tenant.attisdropped
			AND tenant.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
		LEFT JOIN pg_attribute AS person ON person.attrelid = c.oid AND NOT person.attisdropped AND person.attname = 'user_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT starts_with(c.relname, 'river_')
		ORDER BY 1`)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	require.NoError(t, err)
	require.Greater(t, len(all), 30)
	return all
}

// TestEveryTableIsSecured fails for a new table that says nothing of whose its rows are.
func TestEveryTableIsSecured(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	// What is nobody's: which processes run, and what was migrated.
	nobodys := map[string]bool{"processes": true, "goose_db_version": true}
	for _, table := range tables(t, pool) {
		if nobodys[table.Name] {
			require.Empty(t, table.Tenant, table.Name)
			continue
		}
		require.NotEmpty(t, table.Tenant, "%s has no tenant_id: whose are its rows?", table.Name)
		require.True(t, table.Secured, "%s has no row level security: CALL grant_dawsos_roles() in its migration, or migrate through package migrate", table.Name)
		want := []string{"dawsos_api", "dawsos_worker"}
		if table.Name == "alert_dlq" || table.Name == "alert_deliveries" {
			want = []string{"dawsos_api", "dawsos_reader", "dawsos_worker"}
		}
		require.Equal(t, want, table.Policies, table.Name)
	}
}

// filled returns the address of a database in which every table has rows of tenants a and b. Constraints
// between them are gone: what is made up here keeps none.
func filled(t *testing.T) (string, []table) {
	t.Helper()
	address := dbtest.URL(t)
	owner := dbtest.Connect(t, address)
	exec(t, owner, `DO $$
		DECLARE c record;
		BEGIN
			FOR c IN SELECT conrelid::regclass AS of, conname FROM pg_constraint
				WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f') AND conparentid = 0 LOOP
				EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.of, c.conname);
			END LOOP;
			FOR c IN SELECT oid::regclass AS of FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', c.of);
			END LOOP;
		END $$`)
	var secured []table
	for _, table := range tables(t, owner) {
		if table.Tenant == "" {
			continue
		}
		secured = append(secured, table)
		exec(t, owner, "DELETE FROM "+table.Name)
		for _, of := range whose(table) {
			exec(t, owner, insertion(t, owner, table, of))
		}
	}
	return address, secured
}

// row is whose a row is; "" where it is nobody's.
type row struct{ tenant, user string }

// whose lists the rows that filled puts into a table: of each kind that there can be.
func whose(table table) []row {
	users := []string{"", ""}
	if table.Person != "" {
		users = []string{"ann", "bob"}
		if table.Unowned {
			users = append(users, "")
		}
	}
	if table.Name == "tenants" {
		users = []string{""}
	}
	var list []row
	for _, user := range users {
		list = append(list, row{"a", user}, row{"b", user})
		if table.Shared {
			list = append(list, row{"", user})
		}
	}
	return list
}

// insertion writes the statement that puts a row into a table, with something in each column.
func insertion(t *testing.T, owner *pgxpool.Pool, table table, of row) string {
	t.Helper()
	rows, err := owner.Query(t.Context(), `
		SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''`, table.Name)
	require.NoError(t, err)
	type column struct{ Name, Type string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	require.NoError(t, err)
	literal := func(s string) string {
		if s == "" {
			return "NULL"
		}
		return "'" + s + "'"
	}
	var names, values []string
	for _, c := range columns {
		names = append(names, pgx.Identifier{c.Name}.Sanitize())
		value, ok := map[string]string{
			"text": "md5(random()::text)", "text[]": "ARRAY['x']", "uuid": "gen_random_uuid()", "uuid[]": "ARRAY[gen_random_uuid()]",
			"bytea": "decode(md5(random()::text), 'hex')", "json": "'{}'", "jsonb": "'{}'", "boolean": "true", "date": "current_date",
			"timestamp with time zone": "now()", "integer": "(random() * 1e9)::integer", "bigint": "(random() * 1e9)::bigint",
			"smallint": "1", "numeric": "1", "double precision": "1", "character(3)": "'USD'", "character": "'U'",
		}[c.Type]
		switch c.Name {
		case table.Tenant:
			value, ok = literal(of.tenant), true
		case table.Person:
			value, ok = literal(of.user), true
		}
		require.True(t, ok, "%s.%s is of the type %s, which this test has no value for", table.Name, c.Name, c.Type)
		values = append(values, value)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table.Name, strings.Join(names, ", "), strings.Join(values, ", "))
}

// count runs a statement that tells how many rows it concerns, and takes it back.
func count(ctx context.Context, t *testing.T, pool *pgxpool.Pool, sql string) int {
	t.Helper()
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // it is to change nothing
	tag, err := tx.Exec(ctx, sql)
	require.NoError(t, err, sql)
	return int(tag.RowsAffected())
}

// TestForgottenConditionsLeakNothing runs every kind of statement without a WHERE over every table, as the
// roles of the processes.
func TestForgottenConditionsLeakNothing(t *testing.T) {
	t.Parallel()
	address, all := filled(t)
	owner, api, worker := dbtest.Connect(t, address), dbtest.As(t, address, roles.API), dbtest.As(t, address, roles.Worker)
	callers := map[string]auth.Principal{
		"an operator": {TenantID: "a", Role: auth.Operator, UserID: "ann"}, "a program": {TenantID: "a", Role: auth.Service},
		"a person": {TenantID: "a", Role: auth.Analyst, UserID: "ann"}, "nobody": {},
	}
	may := func(p auth.Principal, table table, of row) bool {
		if of.tenant != p.TenantID && (of.tenant != "" || !table.Shared) {
			return false
		}
		return p.Personal() == "" || table.Person == "" || of.user == p.Personal() || of.user == ""
	}
	for _, table := range all {
		t.Run(table.Name, func(t *testing.T) {
			t.Parallel()
			rows := whose(table)
			require.Equal(t, len(rows), count(t.Context(), t, worker, "SELECT FROM "+table.Name), "the worker sees all")
			require.Equal(t, len(rows), count(t.Context(), t, worker, "DELETE FROM "+table.Name))
			for _, name := range slices.Sorted(maps.Keys(callers)) {
				p := callers[name]
				ctx := auth.With(t.Context(), p)
				if p.TenantID == "" {
					ctx = t.Context()
				}
				want := 0
				for _, of := range rows {
					if may(p, table, of) {
						want++
					}
				}
				require.Equal(t, want, count(ctx, t, api, "SELECT FROM "+table.Name), "%s sees", name)
				if table.Name != "tenants" && table.Name != "audit_log" {
					require.Equal(t, want, count(ctx, t, api, fmt.Sprintf("UPDATE %s SET %s = %[2]s", table.Name, table.Tenant)), "%s changes", name)
					require.Equal(t, want, count(ctx, t, api, "DELETE FROM "+table.Name), "%s deletes", name)
				}
				for _, of := range []row{{"b", "ann"}, {"a", "bob"}, {"a", "ann"}} {
					insert := insertion(t, owner, table, of)
					if may(p, table, of) {
						if table.Name != "tenants" { // a is there
							require.Equal(t, 1, count(ctx, t, api, insert), "%s of %v", name, of)
						}
						continue
					}
					requireRefused(ctx, t, api, insert)
				}
				if want > 0 && table.Name != "tenants" && table.Name != "audit_log" {
					requireRefused(ctx, t, api, fmt.Sprintf("UPDATE %s SET %s = 'b'", table.Name, table.Tenant))
				}
			}
		})
	}
}

func requireRefused(ctx context.Context, t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(ctx, sql)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	require.True(t, ok, "%s: %v", sql, err)
	require.Equal(t, "42501", pg.Code, sql)
}

// TestConnectionsChangeCallers: a connection that one caller has used shows the next one nothing of his.
func TestConnectionsChangeCallers(t *testing.T) {
	t.Parallel()
	address, _ := filled(t)
	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	config.MaxConns = 1
	roles.Configure(config, roles.Options{Role: roles.API})
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	see := func(p auth.Principal) (tenants []string) {
		ctx := t.Context()
		if p.TenantID != "" {
			ctx = auth.With(ctx, p)
		}
		rows, err := pool.Query(ctx, "SELECT DISTINCT tenant_id || ' ' || user_id FROM notifications ORDER BY 1")
		require.NoError(t, err)
		tenants, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return tenants
	}
	a, b := auth.Principal{TenantID: "a", Role: auth.Admin}, auth.Principal{TenantID: "b", Role: auth.Service}
	ann := auth.Principal{TenantID: "a", Role: auth.Analyst, UserID: "ann"}
	for range 2 {
		require.Equal(t, []string{"a ann", "a bob"}, see(a))
		require.Equal(t, []string{"a ann"}, see(ann))
		require.Empty(t, see(auth.Principal{}))
		require.Equal(t, []string{"b ann", "b bob"}, see(b))
		require.Equal(t, []string{"a ann", "a bob"}, see(a))
		// A statement that fails takes nothing along.
		_, err := pool.Exec(auth.With(t.Context(), b), "SELECT 1/0")
		require.Error(t, err)
		require.Equal(t, []string{"a ann"}, see(ann))
		canceled, cancel := context.WithCancel(auth.With(t.Context(), b))
		cancel()
		_, err = pool.Exec(canceled, "SELECT 1")
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, []string{"a ann"}, see(ann))
		require.Empty(t, see(auth.Principal{}))
	}
}
