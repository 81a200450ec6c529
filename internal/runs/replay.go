package runs

import (
	"context"
	"fmt"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/patterns"
)

// Reader finds recorded runs.
type Reader interface {
	// Run returns a tenant's run, or fault.NotFound.
	Run(ctx context.Context, tenantID, id string) (patterns.Run, error)
}

// Engine runs patterns.
type Engine interface {
	Execute(ctx context.Context, req patterns.Request) (*patterns.Answer, error)
	// DefinitionHash returns what names the content of a pattern's present definition, and of those that it
	// runs, or fault.NotFound.
	DefinitionHash(patternID string) (string, error)
}

// Replay is what came of running a recorded run again.
type Replay struct {
	Recorded patterns.Run
	Answer   *patterns.Answer // nil when the run failed this time
	Err      error            // why it did
	// Identical says that the data is, byte for byte; of a run that had failed, that it failed with
	// the same code.
	Identical bool
	// DefinitionChanged says that the pattern, or one that it names to be run within it, is no longer what it
	// was: data that is not identical
	// is then no surprise.
	DefinitionChanged bool
}

// Replayer runs recorded runs again.
type Replayer struct {
	runs   Reader
	engine Engine
}

// NewReplayer returns a replayer of the runs that r finds.
func NewReplayer(r Reader, e Engine) *Replayer { return &Replayer{runs: r, engine: e} }

// Replay runs a recorded run again: the same inputs and user, as of the same day, on the same
// pricing pack and ledger versions, also of other portfolios that patterns within were about, every result computed anew, by the present definition. How the
// run goes is in the result, its failure included. The error is fault.NotFound for an unknown run
// and for a pattern that is gone, and ctx's when the caller left or ran out of time.
func (r *Replayer) Replay(ctx context.Context, tenantID, requestID, id string) (Replay, error) {
	recorded, err := r.runs.Run(ctx, tenantID, id)
	if err != nil {
		return Replay{}, err
	}
	hash, err := r.engine.DefinitionHash(recorded.PatternID)
	if fault.CodeOf(err) == fault.NotFound {
		return Replay{}, fault.Wrap(err, fault.NotFound,
			"run %s can't be replayed: its pattern %q is no longer there", id, recorded.PatternID)
	}
	if err != nil {
		return Replay{}, fmt.Errorf("replay run %s: definition of %s: %w", id, recorded.PatternID, err)
	}

	req := patterns.Request{
		TenantID: tenantID, RequestID: requestID, UserID: recorded.UserID,
		PatternID: recorded.PatternID, Inputs: recorded.Inputs,
		Asof: &recorded.Context.Asof, PackID: recorded.Context.PricingPack.ID,
		// The pin decides, whatever has become of the pack since.
		RequireFresh:   false,
		LedgerVersions: recorded.Trace.LedgerVersions,
		Recompute:      true,
	}
	if p := recorded.Context.Portfolio; p != nil {
		req.LedgerVersion = p.LedgerVersion
	}
	replay := Replay{Recorded: recorded, DefinitionChanged: hash != recorded.DefinitionHash}
	replay.Answer, replay.Err = r.engine.Execute(ctx, req)
	if replay.Err != nil && ctx.Err() != nil {
		return Replay{}, fmt.Errorf("replay run %s: %w", id, replay.Err)
	}
	if OutcomeOf(recorded) == Success {
		replay.Identical = replay.Err == nil && replay.Answer.DataHash == recorded.DataHash
	} else {
		replay.Identical = replay.Err != nil && fault.CodeOf(replay.Err) == recorded.ErrorCode
	}
	return replay, nil
}
