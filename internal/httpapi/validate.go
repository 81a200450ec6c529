package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/api"
)

// What is told of the problems of one definition, at most; the document says so too. A text of
// nothing but mistakes would be answered with many times its size, the more so since each problem
// repeats, in its pointer, all names around it.
const (
	mostFindings     = 500
	mostFindingBytes = 1 << 20 // of their texts, as far as they are not the first one's
)

// ValidatePattern checks a definition. Its text is taken as it was sent, since places in it are
// told, and since what is wrong with its syntax is an answer like all else that is wrong.
func (b *byHand) ValidatePattern(c echo.Context) error {
	sent, _ := c.Request().Body.(rawBody)
	answer := api.ValidatePattern200JSONResponse{Valid: true, Problems: []api.Finding{}}
	told := 0
	for _, p := range b.h.Validator.Validate(sent.text) {
		severity := api.FindingSeverityError
		if p.Severity == patterns.Warning {
			severity = api.FindingSeverityWarning
		} else {
			answer.Valid = false
		}
		told += len(p.Pointer) + len(p.Step) + len(p.Msg) + len(p.Suggestion)
		if len(answer.Problems) == mostFindings || len(answer.Problems) > 0 && told > mostFindingBytes {
			answer.More = new(value(answer.More) + 1)
			continue
		}
		answer.Problems = append(answer.Problems, api.Finding{
			Severity: severity, Line: orNull(p.Line), Column: orNull(p.Column), Pointer: p.Pointer,
			Step: orNull(p.Step), Message: p.Msg, Suggestion: orNull(p.Suggestion),
		})
	}
	return answer.VisitValidatePatternResponse(c.Response())
}
