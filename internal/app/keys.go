package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/store"
)

const keysUsage = `usage:
  api keys create --name NAME --role ROLE [--tenant ID [--new-tenant]] [--scopes A,B] [--user ID] [--expires DURATION]
  api keys list [--tenant ID]
  api keys rotate [--tenant ID] [--overlap DURATION] [--expires DURATION] KEY_ID
  api keys revoke [--tenant ID] [--reason TEXT] KEY_ID
roles: admin, operator, analyst, service, read-only`

// keyPages is how many keys are asked for at once.
const keyPages = 200

// ManageKeys makes, lists and ends API keys straight in the database: it is how the first one comes about.
// A new key's text is all that goes to out, so that it can be put into a file; the rest goes to notes.
func ManageKeys(ctx context.Context, args []string, getenv func(string) string, out, notes io.Writer) error {
	if len(args) == 0 {
		return errors.New(keysUsage)
	}
	flags := flag.NewFlagSet("api keys "+args[0], flag.ContinueOnError)
	flags.SetOutput(notes)
	flags.Usage = func() { fmt.Fprintln(notes, keysUsage) }
	var (
		tenant    = flags.String("tenant", auth.OperatingTenant, "")
		newTenant = flags.Bool("new-tenant", false, "")
		name      = flags.String("name", "", "")
		role      = flags.String("role", "", "")
		scopes    = flags.String("scopes", "", "")
		person    = flags.String("user", "", "")
		expires   = flags.Duration("expires", 0, "")
		overlap   = flags.Duration("overlap", 24*time.Hour, "")
		reason    = flags.String("reason", "", "")
	)
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("api keys %s: %w", args[0], err)
	}
	if *expires < 0 || *overlap < 0 {
		return errors.New("api keys: durations can't be negative")
	}
	id, err := keyArgument(args[0], flags.Args())
	if err != nil {
		return err
	}
	d := auth.Draft{
		TenantID: *tenant, Name: strings.TrimSpace(*name), Role: auth.Role(*role), UserID: *person, Lifetime: *expires,
		By: commandUser(), Reason: *reason,
	}
	if *scopes != "" {
		d.Scopes = strings.Split(*scopes, ",")
	}
	if args[0] == "create" { // checked before a tenant is made for it
		if err := checkDraft(d); err != nil {
			return err
		}
	}
	db, done, err := openKeys(ctx, getenv, *tenant)
	if err != nil {
		return err
	}
	defer done()
	if err := haveTenant(ctx, db, *tenant, args[0] == "create" && *newTenant); err != nil {
		return err
	}
	manager := auth.NewManager(db, nil, time.Now)
	switch args[0] {
	case "create":
		text, k, err := manager.Create(ctx, d)
		if err != nil {
			return err
		}
		return tell(out, notes, text, k)
	case "rotate":
		text, k, err := manager.Rotate(ctx, *tenant, id, *overlap, *expires, commandUser(), *reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(notes, "key %s goes on for %s\n", id, *overlap)
		return tell(out, notes, text, k)
	case "revoke":
		if err := manager.Revoke(ctx, *tenant, id, commandUser(), *reason); err != nil {
			return err
		}
		fmt.Fprintf(notes, "key %s is revoked; processes that have just seen it refuse it within 5 s\n", id)
		return nil
	default:
		return listKeys(ctx, manager, *tenant, out)
	}
}

// keyArgument returns the key that a command is about.
func keyArgument(command string, args []string) (string, error) {
	switch command {
	case "create", "list":
		if len(args) == 0 {
			return "", nil
		}
	case "rotate", "revoke":
		if len(args) == 1 {
			return args[0], nil
		}
	}
	return "", errors.New(keysUsage)
}

// openKeys connects as who owns the schema or as the API does.
func openKeys(ctx context.Context, getenv func(string) string, tenant string) (*store.Store, func(), error) {
	cfg, err := config.Load(getenv, config.Migrate)
	if err != nil {
		return nil, nil, err
	}
	conn, err := pgx.Connect(ctx, string(cfg.DatabaseURL))
	if err != nil {
		return nil, nil, errors.New("DATABASE_URL: the database does not take the connection") // pgx's own text names host and user
	}
	done := func() { _ = conn.Close(context.WithoutCancel(ctx)) }
	if _, err := conn.Exec(ctx, "SELECT set_config('dawsos.tenant', $1, false), set_config('dawsos.user', '', false)", tenant); err != nil {
		done()
		return nil, nil, fmt.Errorf("choose the tenant: %w", err)
	}
	return store.New(conn, store.Options{}), done, nil
}

func haveTenant(ctx context.Context, db *store.Store, tenant string, create bool) error {
	if create {
		_, err := db.AddTenant(ctx, tenant)
		return err
	}
	there, err := db.HasTenant(ctx, tenant)
	if err != nil {
		return fmt.Errorf("find tenant %s: %w", tenant, err)
	}
	if !there {
		return fmt.Errorf("there is no tenant %q; api keys create --new-tenant makes it", tenant)
	}
	return nil
}

func tell(out, notes io.Writer, text string, k auth.Key) error {
	fmt.Fprintf(notes, "key %s of tenant %s, role %s; it is shown this once:\n", k.ID, k.TenantID, k.Role)
	_, err := fmt.Fprintln(out, text)
	return err
}

func listKeys(ctx context.Context, manager *auth.Manager, tenant string, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tROLE\tSTATE\tLAST USED\tEXPIRES")
	now := time.Now()
	before, beforeID := now.Add(time.Hour), ""
	for {
		keys, err := manager.Keys(ctx, tenant, before, beforeID, keyPages)
		if err != nil {
			return err
		}
		for _, k := range keys {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Role, k.State(now), moment(k.LastUsed), moment(k.ExpiresAt))
		}
		if len(keys) < keyPages {
			return w.Flush()
		}
		before, beforeID = keys[len(keys)-1].CreatedAt, keys[len(keys)-1].ID
	}
}

func moment(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// commandUser is who the audit trail says it was.
func commandUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "command:" + u.Username
	}
	return "command"
}

func checkDraft(d auth.Draft) error {
	if d.Name == "" || len(d.Name) > 200 || !d.Role.Known() {
		return errors.New("api keys create: --name (1 to 200 characters) and --role (admin, operator, analyst, service or read-only) are needed")
	}
	for _, s := range d.Scopes {
		if !slices.Contains(auth.Scopes, s) {
			return fmt.Errorf("there is no scope %q; scopes are %s", s, strings.Join(auth.Scopes, ", "))
		}
	}
	return nil
}
