// Package roles lets a process work in the database as no more than it is. Whoever its login is, each
// connection takes the process's role, for which row level security holds (migrations 21 and 22). The API's
// connections see the rows of the caller in whose context they are used, and none without one; the worker's
// see those of all tenants.
package roles

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/auth"
)

// Role is a group role of the database that the migrations make.
type Role string

// The roles of the processes.
const (
	API    Role = "dawsos_api"
	Worker Role = "dawsos_worker"
)

// Options say how to connect.
type Options struct {
	Role Role
	// Strict refuses logins that row level security would not hold for outside of the role: superusers, the
	// owner of the tables, and those that bypass it.
	Strict bool
	// SessionPooler tells that what stands between us and PostgreSQL keeps a connection of its own for each
	// of ours.
	SessionPooler bool
}

// RefusedError says why the database can't be worked with as it is set up.
type RefusedError struct {
	Reason string
	// Passes tells that it may be so for a while only: the schema is not there yet.
	Passes bool
}

func (e *RefusedError) Error() string { return e.Reason }

// Configure makes the connections of a pool work in a role.
func Configure(c *pgxpool.Config, o Options) {
	c.AfterConnect = o.enter
	if o.Role == API {
		c.PrepareConn = become
	}
}

// facts are about the login, whatever role it takes on.
const facts = `
SELECT pg_backend_pid(), r.rolsuper, r.rolbypassrls, EXISTS (
    SELECT FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relrowsecurity AND pg_has_role(session_user, c.relowner, 'MEMBER'))
FROM pg_roles AS r WHERE r.rolname = session_user`

const (
	invalidParameter      = "22023" // of SET ROLE: there is no such role
	insufficientPrivilege = "42501"
)

// enter takes the role, once it is clear that the login is what it should be.
func (o Options) enter(ctx context.Context, conn *pgx.Conn) error {
	var pid uint32
	var super, bypasses, owns bool
	if err := conn.QueryRow(ctx, facts, pgx.QueryExecModeExec).Scan(&pid, &super, &bypasses, &owns); err != nil {
		return fmt.Errorf("look at the database's login: %w", err)
	}
	login := conn.Config().User
	switch {
	case pid != conn.PgConn().PID() && !o.SessionPooler:
		return &RefusedError{Reason: "a connection pooler stands before the database: sessions, which tell whose rows may be seen, would get mixed up in it; " +
			"connect to PostgreSQL itself, or have the pooler pool sessions and set DATABASE_POOLER=session"}
	case o.Strict && super:
		return &RefusedError{Reason: fmt.Sprintf("the database's login %s is a superuser, who sees all rows: use one that is a member of %s and no more", login, o.Role)}
	case o.Strict && bypasses:
		return &RefusedError{Reason: fmt.Sprintf("the database's login %s bypasses row level security: use one that is a member of %s and no more", login, o.Role)}
	case o.Strict && owns:
		return &RefusedError{Reason: fmt.Sprintf("the database's login %s owns the tables, and sees all rows: use one that is a member of %s and no more", login, o.Role)}
	}
	_, err := conn.PgConn().Exec(ctx, "SET ROLE "+pgx.Identifier{string(o.Role)}.Sanitize()).ReadAll()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case invalidParameter:
			return &RefusedError{Reason: fmt.Sprintf("the database has no role %s: run `api migrate`", o.Role), Passes: true}
		case insufficientPrivilege:
			return &RefusedError{Reason: fmt.Sprintf("the database's login %s is no member of %s: GRANT %s TO %s", login, o.Role, o.Role, login)}
		}
	}
	if err != nil {
		return fmt.Errorf("take the role %s: %w", o.Role, err)
	}
	return nil
}

// caller is whose rows a connection sees.
type caller struct{ tenant, user string }

// callerKey is where a connection keeps for whom it was set up last.
const callerKey = "dawsos.caller"

// become sets a connection up for whoever calls, which takes a round trip when the last one was another.
func become(ctx context.Context, conn *pgx.Conn) (bool, error) {
	p, _ := auth.From(ctx)
	want := caller{p.TenantID, p.Personal()}
	kept := conn.PgConn().CustomData()
	if is, ok := kept[callerKey]; ok && is == want {
		return true, nil
	}
	delete(kept, callerKey) // not known until it is done
	result := conn.PgConn().ExecParams(ctx,
		`SELECT set_config('dawsos.tenant', $1, false), set_config('dawsos.user', $2, false)`,
		[][]byte{[]byte(want.tenant), []byte(want.user)}, nil, nil, nil).Read()
	if result.Err != nil {
		if ctx.Err() == nil && conn.IsClosed() { // its end had not been noticed; another one may do
			return false, nil
		}
		return false, fmt.Errorf("set a connection up for its caller: %w", result.Err)
	}
	kept[callerKey] = want
	return true, nil
}
