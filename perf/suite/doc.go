// Package suite runs jobs: it opens their engines, starts those of a group together and the next
// group when all have ended (stonewall), and collects what each did.
//
// A job that fails does not end the others of its group, but no group is begun after it. CPU time,
// context switches and faults are those of the whole process during a job: jobs that run together
// share them.
//
// Limits: all jobs of a group, clones included, are jobsMax.
//
//	out, err := suite.Run(ctx, jobs, suite.Config{Find: find, Echo: argv})
package suite
