package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/admission"
	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/delivery"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/api"
)

// Authenticator knows callers by what their requests show. It refuses with [fault.Unauthenticated].
type Authenticator interface {
	Authenticate(r *http.Request) (auth.Principal, error)
}

// checkAccess makes sure that an operation says whom it is for: what it forgets would be for nobody.
func (o *operation) checkAccess() error {
	if len(o.roles) == 0 || !slices.Contains(o.roles, auth.Admin) {
		return fmt.Errorf("x-roles is %v; it must name roles, %s among them", o.roles, auth.Admin)
	}
	for _, role := range o.roles {
		if !role.Known() {
			return fmt.Errorf("x-roles has %q; roles are %v", role, auth.Roles)
		}
	}
	if part, what, _ := strings.Cut(o.scope, ":"); part == "" || what != "read" && what != "write" {
		return fmt.Errorf("x-scope is %q; it must be a part of the API with :read or :write", o.scope)
	}
	return nil
}

// admit lets a request in when its caller is known and may do what it asks for. From then on it is the
// caller's.
func (s *server) admit(c echo.Context, o *operation) error {
	r := c.Request()
	p, err := s.auth.Authenticate(r)
	switch {
	case fault.CodeOf(err) == fault.Unauthenticated:
		// Not before it is known that they are refused: behind a proxy, or in one office, those whose
		// credentials are right share the address of those whose are not.
		if tooMany := s.spend(c, (*admission.Rates).Refused, c.RealIP()); tooMany != nil {
			return tooMany
		}
		return err
	case err != nil:
		return err
	case p.Subject == "":
		err = s.spend(c, (*admission.Rates).Address, c.RealIP())
	default:
		err = s.spend(c, (*admission.Rates).Caller, p.TenantID+"/"+p.Subject)
	}
	c.SetRequest(r.WithContext(auth.With(r.Context(), p))) // the log says who sends too much
	if err != nil {
		return err
	}
	switch {
	case !slices.Contains(o.roles, p.Role):
		return fault.New(fault.Forbidden, "the role %s may not do this; it is for %s", p.Role, join(o.roles))
	case !p.May(o.roles, o.scope):
		return fault.New(fault.Forbidden, "the key is for %s alone; this is %s", strings.Join(p.Scopes, ", "), o.scope)
	case o.operating && !p.Operates():
		return fault.New(fault.Forbidden, "this concerns the whole system: it is for admins and operators of the tenant %s", auth.OperatingTenant)
	}
	return nil
}

func join(roles []auth.Role) string {
	texts := make([]string, len(roles))
	for i, role := range roles {
		texts[i] = string(role)
	}
	return strings.Join(texts, ", ")
}

// challenge is the header WWW-Authenticate of a refusal, RFC 6750.
func challenge(r *http.Request) string {
	if r.Header.Get(echo.HeaderAuthorization) == "" {
		return `Bearer realm="dawsos"`
	}
	return `Bearer realm="dawsos", error="invalid_token"`
}

// by says who acts, and why. A caller who is not known is called after the kind of client.
func by(ctx context.Context, client *api.ActingClient, reason *api.GivenReason) delivery.By {
	b := delivery.By{Actor: string(value(client))}
	if client == nil {
		b.Actor = "api"
	}
	if p, _ := auth.From(ctx); p.Subject != "" {
		b.Actor = p.Subject
	}
	if reason != nil {
		b.Reason = value(reason.Reason)
	}
	return b
}

// forOneself refuses what a person who acts for himself alone wants to do or see for somebody else. The
// database would, too, but can't say so this well.
func forOneself(ctx context.Context, pointer, userID string) error {
	p, _ := auth.From(ctx)
	if own := p.Personal(); own != "" && userID != own {
		return fault.InvalidField(pointer, "must be %s: the role %s is for one's own", own, p.Role)
	}
	return nil
}

// ownUser is whose a list is to be that names nobody: a person's own where he may see no others.
func ownUser(ctx context.Context, given *string) (string, error) {
	p, _ := auth.From(ctx)
	if given == nil {
		return p.Personal(), nil
	}
	return *given, forOneself(ctx, "/query/user_id", *given)
}

// actor says who changes things.
func actor(ctx context.Context) string { return by(ctx, nil, nil).Actor }
